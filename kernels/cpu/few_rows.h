// Products with at most kFewRows rows (generating text): w is streamed once, four of its rows at a time, in runs that
// are converted or decoded into L1 and multiplied with every row of x. Rows of 4-bit weights in whole blocks take the
// shorter way of few_rows_4bit.h.
//
// Floor: the bytes of w; for NF4 with double quantization 4.13 bits a weight.
#pragma once

#include "kernels/cpu/few_rows_4bit.h"
#include "kernels/cpu/workspace.h"
#include "kernels/rounding.h"

namespace ggq::cpu::GGQ_ISA {

inline constexpr int kFewCols = 4;       // rows of w together
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

// The sum of all lanes, halves added to halves.
template <typename T>
GGQ_INLINE T sum_lanes(const Vec<T>& v) {
    T lane[kLanes<T>];
    store(lane, v);
    for (int half = kLanes<T> / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    return lane[0];
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

// Columns col .. col + n_cols - 1 (at most kFewCols) of y.
template <typename T>
void few_columns(const Product<T>& p, const T* x, int64_t x_stride, int64_t col, int64_t n_cols) {
    Vec<T> sums[kFewRows * kFewCols];
    for (int64_t i = 0; i < p.m * kFewCols; ++i) sums[i] = Vec<T>{};
    for (int t = 0; t < p.n_terms; x += padded(p.terms[t].k), ++t) {
        const Operand& w = p.terms[t].w;
        const int64_t k = p.terms[t].k;
        if constexpr (std::is_same_v<T, float>)
            if (reads_groups<T>(w, k)) {
                few_dots_4bit<kFewCols>(w, k, col, n_cols, x, x_stride, p.m, sums);
                continue;
            }
        few_dots_of_term(w, k, col, n_cols, x, x_stride, p.m, sums);
    }
    for (int64_t r = 0; r < p.m; ++r)
        for (int64_t c = 0; c < n_cols; ++c) {
            const T value = sum_lanes<T>(sums[r * kFewCols + c]);
            T& y = p.y[r * p.n + col + c];
            y = p.add ? y + value : value;
        }
}

// x[k] of one row and term as T, times the factor, padded with zeros and in the order in which w is read.
template <typename T>
void few_row_of_x(const Term<T>& term, int64_t row, T* spare, T* to) {
    const bool groups = reads_groups<T>(term.w, term.k);
    T* plain = groups ? spare : to;
    load_run(term.x, term.x.offset(row, 0), term.x.k_stride, term.k, plain);
    for (int64_t i = 0; i < term.k; ++i) plain[i] *= term.factor;
    for (int64_t i = term.k; i < padded(term.k); ++i) plain[i] = 0;
    if (groups) order_by_groups(plain, term.k, to);
}

template <typename T>
void few_rows(ThreadPool& pool, const Product<T>& p, std::byte* workspace) {
    constexpr int64_t kTaskWeights = 1 << 16;
    T* x = reinterpret_cast<T*>(workspace);
    const int64_t x_stride = padded(p.terms[0].k) + (p.n_terms > 1 ? padded(p.terms[1].k) : 0);
    T* spare = x + p.m * x_stride;
    for (int64_t row = 0; row < p.m; ++row) {
        few_row_of_x(p.terms[0], row, spare, x + row * x_stride);
        if (p.n_terms > 1) few_row_of_x(p.terms[1], row, spare, x + row * x_stride + padded(p.terms[0].k));
    }
    const int64_t cols = (kTaskWeights / (p.k() + 1) + kFewCols) / kFewCols * kFewCols;
    pool.for_range(p.n, cols, [&](int64_t begin, int64_t end) {
        for (int64_t col = begin; col < end; col += kFewCols)
            few_columns(p, x, x_stride, col, end - col < kFewCols ? end - col : kFewCols);
    });
}

}  // namespace ggq::cpu::GGQ_ISA
