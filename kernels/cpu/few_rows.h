// Products with at most kFewRows rows (generating text): w is streamed once, four of its rows at a time. In float, w is
// read as it is stored (few_rows_groups.h) where it is in bf16, f32, int8 or whole blocks of 4 bits; what is not is
// converted or decoded into L1 in runs and multiplied with every row of x.
//
// Floor: the bytes of w; for NF4 with double quantization 4.13 bits a weight.
#pragma once

#include "kernels/cpu/few_rows_4bit.h"
#include "kernels/cpu/few_rows_plain.h"
#include "kernels/rounding.h"

namespace ggq::cpu::GGQ_ISA {

inline constexpr int64_t kFewRun = 512;  // of k
#if defined(__AVX512F__)
inline constexpr int kFewTile = 4;  // rows of x together, so that all sums stay in registers
#else
inline constexpr int kFewTile = 2;
#endif

// sums[kFewCols][Rows] += w[kFewCols, n] x[Rows, n]^T lane by lane; n is a multiple of the lanes
template <typename T, int Rows>
GGQ_INLINE void few_dots(const T* w, const T* x, int64_t x_stride, int64_t n, Vec<T>* sums) {
    Vec<T> sum[Rows][kFewCols];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < kFewCols; ++c) sum[r][c] = sums[r * kFewCols + c];
    for (int64_t i = 0; i < n; i += kLanes<T>) {
        Vec<T> column[kFewCols];
#pragma GCC unroll 4
        for (int c = 0; c < kFewCols; ++c) column[c] = load(w + c * kFewRun + i);
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) {
            const Vec<T> row = load(x + r * x_stride + i);
#pragma GCC unroll 4
            for (int c = 0; c < kFewCols; ++c) sum[r][c] = madd<T>(row, column[c], sum[r][c]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < kFewCols; ++c) sums[r * kFewCols + c] = sum[r][c];
}

template <typename T>
void few_dots_all(const T* w, const T* x, int64_t x_stride, int64_t n, int64_t m, Vec<T>* sums) {
    int64_t r = 0;
    for (; r + kFewTile <= m; r += kFewTile)
        few_dots<T, kFewTile>(w, x + r * x_stride, x_stride, n, sums + r * kFewCols);
    for (; r < m; ++r) few_dots<T, 1>(w, x + r * x_stride, x_stride, n, sums + r * kFewCols);
}

constexpr int64_t padded(int64_t k) { return round_up(k, kFewPadding); }

#if defined(__AVX2__)
GGQ_INLINE __m128 four_lanes(const Vec<float>& v) {
    __m256 halves[kVecBytes / 32];
    std::memcpy(halves, &v, sizeof v);
    const __m256 half = kVecBytes == 64 ? _mm256_add_ps(halves[0], halves[kVecBytes / 32 - 1]) : halves[0];
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
#endif

// to[kFewCols] = the sum of all lanes of each vector, halves added to halves.
template <typename T>
GGQ_INLINE void sum_lanes(const Vec<T>* v, T* to) {
#if defined(__AVX2__)
    if constexpr (std::is_same_v<T, float>) {
        __m128 a = four_lanes(v[0]), b = four_lanes(v[1]), c = four_lanes(v[2]), d = four_lanes(v[3]);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        return _mm_storeu_ps(to, _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d)));
    }
#endif
    for (int col = 0; col < kFewCols; ++col) {
        T lane[kLanes<T>];
        store(lane, v[col]);
        for (int half = kLanes<T> / 2; half > 0; half /= 2)
            for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
        to[col] = lane[0];
    }
}

// Calls f with the reader that streams w, whatever it holds; false where there is none.
template <typename T, typename F>
GGQ_INLINE bool with_reader(const Operand& w, int64_t k, const F& f) {
    if (!std::is_same_v<T, float> || w.mask) return false;
    if (has_whole_blocks(w, k)) f(FourBitRow{});
    else if (w.dtype == DType::int8) f(Int8Row{});
    else if (w.dtype == DType::bf16) f(Bf16Row{});
    else if (w.dtype == DType::f32) f(F32Row{});
    else return false;
    return true;
}

// sums[m][kFewCols] += x[m,k] times rows col .. col + n_cols - 1 of the term's w.
template <typename T>
void few_dots_of_term(const Operand& w, int64_t k, int64_t col, int64_t n_cols, const T* x, int64_t x_stride, int64_t m,
                      Vec<T>* sums) {
    alignas(64) T rows[kFewCols * kFewRun];
    if (n_cols < kFewCols) std::memset(rows, 0, sizeof rows);
    for (int64_t begin = 0; begin < k; begin += kFewRun) {
        const int64_t n = k - begin < kFewRun ? k - begin : kFewRun;
        for (int64_t c = 0; c < n_cols; ++c) {
            load_run(w, w.offset(col + c, begin), w.k_stride, n, rows + c * kFewRun);
            for (int64_t i = n; i < padded(n); ++i) rows[c * kFewRun + i] = 0;
        }
        few_dots_all<T>(rows, x + begin, x_stride, padded(n), m, sums);
    }
}

// One term of a product as few_columns() reads it: what does not change from column to column.
template <typename T>
struct FewTerm {
    using Dots = void (*)(const FewTerm&, int64_t col, int64_t n_cols, const T* x, int64_t x_stride, int64_t m,
                          Vec<T>* sums);
    const Operand* w = nullptr;
    int64_t k = 0;
    Dots dots = nullptr;
    FourBitTerm four_bit;
};

template <typename T>
void few_dots_converted(const FewTerm<T>& t, int64_t col, int64_t n_cols, const T* x, int64_t x_stride, int64_t m,
                        Vec<T>* sums) {
    few_dots_of_term(*t.w, t.k, col, n_cols, x, x_stride, m, sums);
}

// The same where w is streamed and x in its reader's order. k is cut so that the piece of four rows of x stays in L1.
template <typename Reader>
void few_dots_streamed(const FewTerm<float>& t, int64_t col, int64_t n_cols, const float* x, int64_t x_stride,
                       int64_t m, Vec<float>* sums) {
    const int64_t piece = kFewPiece / (m < 2 ? 1 : m < 4 ? 2 : 4);
    for (int64_t begin = 0; begin < t.k; begin += piece) {
        const int64_t n = t.k - begin < piece ? t.k - begin : piece;
        if constexpr (std::is_same_v<Reader, FourBitRow>)
            few_dots_4bit(t.four_bit, begin, n, col, n_cols, x + begin, x_stride, m, sums);
        else few_dots_plain<Reader>(*t.w, begin, n, col, n_cols, x + begin, x_stride, m, sums);
    }
}

template <typename T>
FewTerm<T> few_term(const Operand& w, int64_t k) {
    FewTerm<T> t{&w, k, few_dots_converted<T>, {}};
    with_reader<T>(w, k, [&](auto reader) {
        if constexpr (std::is_same_v<T, float>) t.dots = few_dots_streamed<decltype(reader)>;
    });
    if (has_whole_blocks(w, k)) t.four_bit = four_bit_term(w, k);
    return t;
}

// Columns col .. col + n_cols - 1 (at most kFewCols) of y.
template <typename T>
void few_columns(const Product<T>& p, const FewTerm<T>* terms, const T* x, int64_t x_stride, int64_t col,
                 int64_t n_cols) {
    Vec<T> sums[kFewRows * kFewCols];
    for (int64_t i = 0; i < p.m * kFewCols; ++i) sums[i] = Vec<T>{};
    for (int t = 0; t < p.n_terms; x += padded(terms[t].k), ++t)
        terms[t].dots(terms[t], col, n_cols, x, x_stride, p.m, sums);
    for (int64_t r = 0; r < p.m; ++r) {
        T value[kFewCols], *y = p.y + r * p.n + col;
        sum_lanes<T>(sums + r * kFewCols, value);
        for (int64_t c = 0; c < n_cols; ++c) y[c] = p.add ? y[c] + value[c] : value[c];
    }
}

// x[k] of one row and term as T, times the factor, padded with zeros and in the order in which w is read.
template <typename T>
void few_row_of_x(const Term<T>& term, int64_t row, T* spare, T* to) {
    load_run(term.x, term.x.offset(row, 0), term.x.k_stride, term.k, spare);
    if (term.factor != T{1})
        for (int64_t i = 0; i < term.k; ++i) spare[i] *= term.factor;
    for (int64_t i = term.k; i < padded(term.k); ++i) spare[i] = 0;
    const bool ordered = with_reader<T>(term.w, term.k, [&](auto reader) {
        if constexpr (std::is_same_v<T, float>) order_for<decltype(reader)>(spare, term.k, to);
    });
    if (!ordered) std::memcpy(to, spare, static_cast<size_t>(padded(term.k)) * sizeof(T));
}

// Tasks are of kTaskWeights, or as many more that there are kMostTasks: by size alone.
constexpr int64_t columns_of_task(int64_t n, int64_t k) {
    constexpr int64_t kTaskWeights = 1 << 14, kMostTasks = 64;
    const int64_t least = ceil_div(kTaskWeights, k + 1), share = ceil_div(n, kMostTasks);
    return round_up(least > share ? least : share, kFewCols);
}

template <typename T>
void few_rows(ThreadPool& pool, const Product<T>& p, std::byte* workspace) {
    T* x = reinterpret_cast<T*>(workspace);
    const int64_t x_stride = padded(p.terms[0].k) + (p.n_terms > 1 ? padded(p.terms[1].k) : 0);
    T* spare = x + p.m * x_stride;
    for (int64_t row = 0; row < p.m; ++row) {
        few_row_of_x(p.terms[0], row, spare, x + row * x_stride);
        if (p.n_terms > 1) few_row_of_x(p.terms[1], row, spare, x + row * x_stride + padded(p.terms[0].k));
    }
    FewTerm<T> terms[2];
    for (int t = 0; t < p.n_terms; ++t) terms[t] = few_term<T>(p.terms[t].w, p.terms[t].k);
    pool.for_range(p.n, columns_of_task(p.n, p.k()), [&](int64_t begin, int64_t end) {
        for (int64_t col = begin; col < end; col += kFewCols)
            few_columns(p, terms, x, x_stride, col, end - col < kFewCols ? end - col : kFewCols);
    });
}

}  // namespace ggq::cpu::GGQ_ISA
