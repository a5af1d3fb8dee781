// The pieces that attention and its gradient are made of: blocks of rows laid out for products, and which scores a
// block of queries sees.
//
// A product here is c[m,w] = a[m,k] b[k,w], where b and c are blocks in the workspace with rows of w <= kAttentionBlock
// elements (padded to kAttentionPadding), and a is read one element at a time: rows of a tensor or their transpose
// alike. What is packed once for each task, transposed, is the side along w.
#pragma once

#include "kernels/cpu/attention_workspace.h"
#include "kernels/cpu/vec.h"
#include "kernels/rounding.h"

namespace ggq::cpu::GGQ_ISA {

// Element (i, j) is data[i * row + j * col].
template <typename T>
struct Matrix {
    const T* data;
    int64_t row, col;
    Matrix transposed() const { return {data, col, row}; }
};

// Rows x (Vecs * lanes) of c at once, in registers.
template <int Rows, int Vecs, typename T>
GGQ_INLINE void product_tile(const Matrix<T>& a, int64_t k, const T* b, T* c, int64_t width, bool add) {
    Vec<T> sum[Rows][Vecs] = {};
    const T* x = a.data;
    for (int64_t j = 0; j < k; ++j, x += a.col, b += width) {
        Vec<T> row[Vecs];
#pragma GCC unroll 4
        for (int v = 0; v < Vecs; ++v) row[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
            const Vec<T> factor = splat(x[r * a.row]);
#pragma GCC unroll 4
            for (int v = 0; v < Vecs; ++v) sum[r][v] = madd<T>(factor, row[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < Vecs; ++v) {
            T* at = c + r * width + v * kLanes<T>;
            store<T>(at, add ? load(at) + sum[r][v] : sum[r][v]);
        }
}

template <int Rows, int Vecs, typename T>
void product_columns(Matrix<T> a, int64_t m, int64_t k, const T* b, T* c, int64_t width, bool add) {
    for (; m >= Rows; m -= Rows, a.data += Rows * a.row, c += Rows * width)
        product_tile<Rows, Vecs>(a, k, b, c, width, add);
    for (; m > 0; --m, a.data += a.row, c += width) product_tile<1, Vecs>(a, k, b, c, width, add);
}

// c[m,width] = (add ? c : 0) + a[m,k] b[k,width]. Each element is one chain of multiply-adds over k, whatever the tile.
template <typename T>
void product(const Matrix<T>& a, int64_t m, int64_t k, const T* b, T* c, int64_t width, bool add) {
    constexpr int kVecs = kVecBytes == 64 ? 4 : 2;  // with 4 rows, 16 sums of 32 registers or 8 of 16
    int64_t i = 0;
    for (; i + kVecs * kLanes<T> <= width; i += kVecs * kLanes<T>)
        product_columns<4, kVecs>(a, m, k, b + i, c + i, width, add);
    for (; i < width; i += kLanes<T>) product_columns<8, 1>(a, m, k, b + i, c + i, width, add);
}

// Rows [first, first + n) of one head of x[.,heads,D], gathered into `buffer` [n,D] as T. Where they lie, rows are
// often a multiple of 4096 bytes apart: they would all fall into one set of the first cache, and no hardware prefetcher
// sees the next one coming. So the rows of the next block are asked for here.
template <typename T>
Matrix<T> rows_of(const View& x, int64_t head, int64_t first, int64_t n, T* buffer) {
    constexpr int64_t kCacheLine = 64;
    const int64_t D = x.shape[2], step = x.strides[0], n_left = x.shape[0] - first - n;
    with_float(x.dtype, [&](auto from) {
        using W = decltype(from);
        const W* row = x.as<W>() + first * step + head * x.strides[1];
        for (int64_t i = 0; i < n; ++i, row += step) {
            const auto* next = reinterpret_cast<const char*>(i < n_left ? row + n * step : row);
            for (int64_t at = 0; at < D * static_cast<int64_t>(sizeof(W)); at += kCacheLine)
                __builtin_prefetch(next + at, 0, 2);
#pragma omp simd
            for (int64_t d = 0; d < D; ++d) buffer[i * D + d] = convert<T>(row[d]);
        }
    });
    return {buffer, D, 1};
}

// dst[D,width] = factor * the transpose of n rows, which row(i) points to, and zeros beside them.
template <typename T, typename F>
void pack_transposed(T* dst, int64_t n, int64_t D, int64_t width, T factor, const F& row) {
    for (int64_t i = 0; i < width; ++i) {
        const T* from = i < n ? row(i) : nullptr;
        for (int64_t d = 0; d < D; ++d) dst[d * width + i] = from ? factor * from[d] : T{0};
    }
}

GGQ_INLINE int64_t padded_width(int64_t n) { return round_up(n, kAttentionPadding); }

// f(width), where the width of a full and of the narrowest block is a constant, so that loops over it unroll.
template <typename F>
GGQ_INLINE void with_width(int64_t width, const F& f) {
    if (width == kAttentionBlock) return f(std::integral_constant<int64_t, kAttentionBlock>{});
    if (width == kAttentionPadding) return f(std::integral_constant<int64_t, kAttentionPadding>{});
    f(width);
}

// The shapes of one call, and the rows that share key head g: row i is query i / group of query head g * group + i %
// group.
struct AttentionShape {
    int64_t T, H, D, S, G, group;

    AttentionShape(const View& q, const View& k)
        : T(q.shape[0]), H(q.shape[1]), D(q.shape[2]), S(k.shape[0]), G(k.shape[1]), group(H / G) {}
    int64_t n_rows() const { return T * group; }
    int64_t n_row_blocks() const { return ceil_div(n_rows(), kAttentionBlock); }
    int64_t n_key_blocks() const { return ceil_div(S, kAttentionBlock); }
};

// A block of at most kAttentionBlock rows of key head g, and the keys that each sees.
struct RowBlock {
    int64_t g, first, n, width, group;
    int64_t union_begin, union_end, common_begin, common_end;  // seen by any row, seen by every row
    int32_t begin[kAttentionBlock], end[kAttentionBlock];      // padding repeats the last row

    RowBlock(const AttentionShape& shape, const View& spans, int64_t key_head, int64_t block)
        : g(key_head), first(block * kAttentionBlock), group(shape.group) {
        n = shape.n_rows() - first < kAttentionBlock ? shape.n_rows() - first : kAttentionBlock;
        width = padded_width(n);
        union_begin = common_end = shape.S;
        union_end = common_begin = 0;
        for (int64_t i = 0; i < width; ++i) {
            const int32_t* span = spans.as<int32_t>() + 2 * query(i < n ? i : n - 1);
            begin[i] = span[0];
            end[i] = span[1];
            if (begin[i] < union_begin) union_begin = begin[i];
            if (begin[i] > common_begin) common_begin = begin[i];
            if (end[i] > union_end) union_end = end[i];
            if (end[i] < common_end) common_end = end[i];
        }
    }
    int64_t query(int64_t i) const { return (first + i) / group; }
    int64_t head(int64_t i) const { return g * group + (first + i) % group; }
    bool all_see(int64_t from, int64_t to) const { return common_begin <= from && to <= common_end; }

    // Row i in x[T,H,D].
    template <typename T>
    T* row(const View& x, int64_t i) const {
        return x.as<T>() + query(i) * x.strides[0] + head(i) * x.strides[1];
    }
};

// f(task, worker) for every task, on one thread where the whole is small.
template <typename F>
void run_tasks(const CpuContext& ctx, const AttentionShape& shape, int64_t n_tasks, const F& f) {
    if (shape.T * shape.S * shape.H * shape.D > kTaskElems) return ctx.threads->run(n_tasks, f);
    for (int64_t task = 0; task < n_tasks; ++task) f(task, 0);
}

}  // namespace ggq::cpu::GGQ_ISA
