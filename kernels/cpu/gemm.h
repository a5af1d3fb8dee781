// Products with many rows, in the manner of BLIS (Van Zee and van de Geijn, 2015).
//
//   for a block of at most kRowBlock rows of x
//     for a block of at most kDepthBlock of k                  (in order: the sums of y grow block by block)
//       all threads pack x into panels [k][tile rows]          stays in L2
//       one task for kColBlock columns of y (rows of w):       packs its panel of w [k][tile columns], then
//         for each register tile of y                          both panels stream through the registers
//
// Blocks depend on the shape alone, and k is never split between threads, so neither does any bit of the result.
// Floor: 2 m n k FLOP. w is packed (decoded) once for a row block, x once for each depth block.
#pragma once

#include "kernels/cpu/pack.h"
#include "kernels/cpu/product.h"
#include "kernels/rounding.h"

namespace ggq::cpu::GGQ_ISA {

#if defined(__AVX512F__)
inline constexpr int kTileRows = 14;  // 28 sums, 2 columns of w, x broadcast from memory: 30 of 32 registers
#else
inline constexpr int kTileRows = 6;  // 12 sums, 2 columns of w, one of x: 15 of 16 registers
#endif
inline constexpr int kTileVecs = 2;
static_assert(kTileRows <= kMaxTile);

template <typename T>
inline constexpr int kTileCols = kTileVecs* kLanes<T>;

// y[Rows, Vecs * lanes] = (add ? y : 0) + x panel * w panel
template <typename T, int Rows, int Vecs>
void register_tile(int64_t k, const T* x, const T* w, T* y, int64_t y_stride, bool add) {
    for (int r = 0; r < Rows; ++r)  // y comes from memory: ask for it before the sums need it
        for (int v = 0; v < Vecs; ++v) __builtin_prefetch(y + r * y_stride + v * kLanes<T>, 1);
    Vec<T> sum[Rows][Vecs] = {};
    for (int64_t i = 0; i < k; ++i, x += kTileRows, w += kTileCols<T>) {
        Vec<T> column[Vecs];
#pragma GCC unroll 4
        for (int v = 0; v < Vecs; ++v) column[v] = load(w + v * kLanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r) {
            const Vec<T> row = splat(x[r]);
#pragma GCC unroll 4
            for (int v = 0; v < Vecs; ++v) sum[r][v] = madd<T>(row, column[v], sum[r][v]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < Vecs; ++v) {
            T* at = y + r * y_stride + v * kLanes<T>;
            store<T>(at, add ? load(at) + sum[r][v] : sum[r][v]);
        }
}

// The part of the product that is being computed: rows of x and a range of k over all terms.
struct GemmBlock {
    int64_t row, n_rows, k, n_k;
};

// The panels of one side of all terms that reach into the block's range of k.
template <int R, typename T>
void pack_terms(const Product<T>& p, Operand Term<T>::*side, int64_t row, int64_t n_rows, const GemmBlock& b, T* dst) {
    int64_t term_begin = 0;
    for (int t = 0; t < p.n_terms; term_begin += p.terms[t].k, ++t) {
        const int64_t begin = term_begin > b.k ? term_begin : b.k;
        const int64_t term_end = term_begin + p.terms[t].k, block_end = b.k + b.n_k;
        const int64_t n_k = (term_end < block_end ? term_end : block_end) - begin;
        if (n_k <= 0) continue;
        T* piece = dst + (begin - b.k) * R;
        pack_panels<R>(p.terms[t].*side, row, n_rows, begin - term_begin, n_k, R * b.n_k, piece);
        if (side != &Term<T>::x || p.terms[t].factor == T{1}) continue;
        for (int64_t i = 0; i < n_rows; i += R)
            for (int64_t j = 0; j < n_k * R; ++j) piece[i * b.n_k + j] *= p.terms[t].factor;
    }
}

// A tile that is cut by the edge of y or masked goes through a buffer. `keep`, of a masked product: the bytes of
// keep_elements() for the tile's rows, kColBlock apart.
template <typename T>
void store_tile(const Product<T>& p, const T* tile, int64_t row, int64_t n_rows, int64_t col, int64_t n_cols, bool add,
                const uint8_t* keep) {
    for (int64_t i = 0; i < n_rows; ++i) {
        const T* from = tile + i * kTileCols<T>;
        T* to = p.y + (row + i) * p.n + col;
        if (p.mask) apply_kept(keep + i * kColBlock, p.mask->p, n_cols, from, to, true);
        else if (add)
            for (int64_t j = 0; j < n_cols; ++j) to[j] += from[j];
        else
            for (int64_t j = 0; j < n_cols; ++j) to[j] = from[j];
    }
}

template <typename T, int Rows, int Vecs>
void multiply_tile(const Product<T>& p, const GemmBlock& b, const T* x, const T* w, int64_t row, int64_t col,
                   const uint8_t* keep) {
    const int64_t rows_left = b.row + b.n_rows - row, cols_left = p.n - col;
    const int64_t n_rows = rows_left < Rows ? rows_left : Rows;
    const int64_t n_cols = cols_left < Vecs * kLanes<T> ? cols_left : Vecs * kLanes<T>;
    const bool add = p.add || b.k > 0;
    if (n_rows == Rows && n_cols == Vecs * kLanes<T> && !p.mask)
        return register_tile<T, Rows, Vecs>(b.n_k, x, w, p.y + row * p.n + col, p.n, add);
    alignas(64) T tile[kTileRows * kTileCols<T>];
    register_tile<T, Rows, Vecs>(b.n_k, x, w, tile, kTileCols<T>, false);
    store_tile(p, tile, row, n_rows, col, n_cols, add, keep);
}

// Tiles of fewer rows and half the columns keep edges and low ranks cheap.
template <typename T>
void multiply_panel(const Product<T>& p, const GemmBlock& b, const T* x, const T* w, int64_t row, int64_t col,
                    const uint8_t* keep) {
    constexpr int kHalf = (kTileRows + 2) / 2, kQuarter = (kTileRows + 2) / 4;
    const int64_t rows_left = b.row + b.n_rows - row;
    const bool narrow = p.n - col <= kLanes<T>;
    if (rows_left <= kQuarter)
        narrow ? multiply_tile<T, kQuarter, 1>(p, b, x, w, row, col, keep)
               : multiply_tile<T, kQuarter, 2>(p, b, x, w, row, col, keep);
    else if (rows_left <= kHalf)
        narrow ? multiply_tile<T, kHalf, 1>(p, b, x, w, row, col, keep)
               : multiply_tile<T, kHalf, 2>(p, b, x, w, row, col, keep);
    else
        narrow ? multiply_tile<T, kTileRows, 1>(p, b, x, w, row, col, keep)
               : multiply_tile<T, kTileRows, 2>(p, b, x, w, row, col, keep);
}

// y of one block: tasks are kColBlock columns, and pieces of the rows where that gives too few of them.
template <typename T>
void multiply_block(ThreadPool& pool, const Product<T>& p, const GemmBlock& b, const T* x, T* w_of_workers) {
    constexpr int64_t kTasksWanted = 64, kLeastPanels = 8;
    const int64_t n_panels = ceil_div(b.n_rows, kTileRows);
    const int64_t n_cols_tasks = ceil_div(p.n, kColBlock);
    const int64_t wanted = ceil_div(kTasksWanted, n_cols_tasks);
    const int64_t possible = ceil_div(n_panels, kLeastPanels);
    const int64_t n_pieces = wanted < possible ? wanted : possible;
    const int64_t piece = ceil_div(n_panels, n_pieces);
    pool.run(n_cols_tasks * n_pieces, [&](int64_t task, int worker) {
        const int64_t col = task / n_pieces * kColBlock, panel = task % n_pieces * piece;
        const int64_t n_cols = p.n - col < kColBlock ? p.n - col : kColBlock;
        const int64_t end = panel + piece < n_panels ? panel + piece : n_panels;
        if (panel >= end) return;
        T* w = w_of_workers + worker * (kColBlock * kDepthBlock);
        pack_terms<kTileCols<T>>(p, &Term<T>::w, col, n_cols, b, w);
        uint8_t keep[kTileRows * kColBlock];
        for (int64_t i = panel; i < end; ++i) {
            const int64_t row = b.row + i * kTileRows, rows_left = b.row + b.n_rows - row;
            for (int64_t r = 0; p.mask && r < kTileRows && r < rows_left; ++r)
                keep_elements(*p.mask, (row + r) * p.n + col, n_cols, keep + r * kColBlock);
            for (int64_t j = 0; j < n_cols; j += kTileCols<T>)
                multiply_panel(p, b, x + i * kTileRows * b.n_k, w + j * b.n_k, row, col + j, keep + j);
        }
    });
}

template <typename T>
void pack_x(ThreadPool& pool, const Product<T>& p, const GemmBlock& b, T* x) {
    constexpr int64_t kRows = kColBlock / kTileRows * kTileRows;
    pool.for_range(b.n_rows, kRows, [&](int64_t begin, int64_t end) {
        pack_terms<kTileRows>(p, &Term<T>::x, b.row + begin, end - begin, b, x + begin * b.n_k);
    });
}

// [0, n) in equal steps of at most `largest` rounded up to `multiple`.
GGQ_INLINE int64_t equal_step(int64_t n, int64_t largest, int64_t multiple) {
    return round_up(ceil_div(n, ceil_div(n, largest)), multiple);
}

template <typename T>
void gemm(ThreadPool& pool, const Product<T>& p, std::byte* workspace) {
    if (p.m == 0 || p.n == 0) return;
    const int64_t k = p.k();
    if (k == 0) {
        if (!p.add && !p.mask) std::memset(p.y, 0, static_cast<size_t>(p.m * p.n) * sizeof(T));
        return;
    }
    const int64_t rows = equal_step(p.m, kRowBlock, kTileRows), depth = equal_step(k, kDepthBlock, kDepthStep);
    T* w = reinterpret_cast<T*>(workspace);
    T* x = w + pool.size() * (kColBlock * kDepthBlock);
    for (GemmBlock b{0, 0, 0, 0}; b.row < p.m; b.row += rows) {
        b.n_rows = p.m - b.row < rows ? p.m - b.row : rows;
        for (b.k = 0; b.k < k; b.k += depth) {
            b.n_k = k - b.k < depth ? k - b.k : depth;
            pack_x(pool, p, b, x);
            multiply_block(pool, p, b, x, w);
        }
    }
}

}  // namespace ggq::cpu::GGQ_ISA
