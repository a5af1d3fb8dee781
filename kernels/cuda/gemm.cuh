// y[m,n] = alpha x[m,k] w[n,k]^T in the tensor cores, for factors of f16 or bf16 in any layout. A block computes a tile
// of y; tiles of both factors, 32 of k at a time, pass through a ring of stages in shared memory.
//
// Layouts of a factor, and how its fragments are read from a stage:
//   along_k     k runs along memory: rows of 4 pieces of 16 bytes
//   along_rows  rows run along memory (a transposed view): 32 rows of k, read with a transposing load
//   any         neither, or not aligned: element by element, put as along_k is
// A piece stands at a place that is xored with its row, so that the 8 rows of a matrix lie in different banks.
//
// A mask over x is applied in shared memory by the thread that copied a piece, before anyone reads it.
#pragma once

#include "kernels/cuda/dropout_mask.cuh"
#include "kernels/cuda/gemm_args.cuh"
#include "kernels/cuda/product_output.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/reduce.cuh"

namespace ggq::cuda {

inline constexpr int kDepth = 32;  // of k in a stage
inline constexpr int kGemmStages = 3;

enum class Layout { along_k, along_rows, any };

template <typename T_, int rows_, int cols_, int warps_down_, int warps_across_, Layout x_, Layout w_, bool narrow_>
struct GemmForm {
    using T = T_;
    static constexpr int rows = rows_, cols = cols_;  // of the tile of y
    static constexpr int warps_down = warps_down_, warps_across = warps_across_;
    static constexpr Layout x = x_, w = w_;
    static constexpr bool narrow = narrow_;  // may mask x, not y
    static constexpr int threads = warps_down * warps_across * kWarp;
    static constexpr int warp_rows = rows / warps_down, warp_cols = cols / warps_across;
    static constexpr int fragments_down = warp_rows / 16, fragments_across = warp_cols / 8;
    static constexpr int stage_pieces = (rows + cols) * (kDepth / 8);
    static constexpr int shared_bytes = kGemmStages * stage_pieces * 16;
    static_assert(warp_rows % 16 == 0 && warp_cols % 16 == 0 && (x == Layout::any) == (w == Layout::any));
};

// One factor's tile of `rows` rows, the first of them `first`, in a matrix of n rows.
template <typename T, Layout layout, int rows, int threads>
struct GemmTile {
    static constexpr int kAcross = layout == Layout::along_rows ? rows / 8 : kDepth / 8;  // pieces side by side

    const T* data;
    int64_t row_stride, k_stride, first, n;

    __device__ GemmTile(const Operand& o, int64_t first_row, int64_t n_rows)
        : data(static_cast<const T*>(o.data)),
          row_stride(o.row_stride),
          k_stride(o.k_stride),
          first(first_row),
          n(n_rows) {}

    // `line` is a row, or k where rows run along memory.
    __device__ static int place(int line, int piece) {
        return line * kAcross + (piece ^ (kAcross == 4 ? line / 2 % 4 : line % 8));
    }

    // A piece: where it begins in the matrix, and how many of its elements are inside.
    struct Piece {
        int line, piece, count;
        int64_t offset;
    };
    __device__ Piece piece_at(int i, int64_t k, int64_t k_end) const {
        Piece p{i / kAcross, i % kAcross, 0, 0};
        const bool by_rows = layout == Layout::along_rows;
        const int64_t row = first + (by_rows ? p.piece * 8 : p.line), at_k = k + (by_rows ? p.line : p.piece * 8);
        const int64_t left = by_rows ? n - row : k_end - at_k;
        const bool inside = row < n && at_k < k_end;
        p.count = !inside ? 0 : left < 8 ? static_cast<int>(left) : 8;
        p.offset = row * row_stride + at_k * k_stride;
        return p;
    }

    __device__ void copy(uint4* to, int64_t k, int64_t k_end) const {
#pragma unroll
        for (int i = static_cast<int>(threadIdx.x); i < rows * (kDepth / 8); i += threads) {
            const Piece p = piece_at(i, k, k_end);
            copy_async_part(to + place(p.line, p.piece), p.count > 0 ? data + p.offset : data, 2 * p.count);
        }
    }

    // The same thread's pieces, once they are there.
    __device__ void apply(const DropoutMask& mask, uint4* to, int64_t k, int64_t k_end) const {
#pragma unroll
        for (int i = static_cast<int>(threadIdx.x); i < rows * (kDepth / 8); i += threads) {
            const Piece p = piece_at(i, k, k_end);
            if (p.count == 0) continue;
            mask.zero_dropped(p.offset, to[place(p.line, p.piece)]);
        }
    }

    // Layout::any: lanes go along whatever runs along memory.
    __device__ void copy_elements(uint4* to, int64_t k, int64_t k_end, const DropoutMask& mask, bool masked) const {
        const bool rows_first = row_stride == 1;
        for (int i = static_cast<int>(threadIdx.x); i < rows * kDepth; i += threads) {
            const int r = rows_first ? i % rows : i / kDepth, c = rows_first ? i / rows : i % kDepth;
            const int64_t row = first + r, at_k = k + c, offset = row * row_stride + at_k * k_stride;
            T value{};
            if (row < n && at_k < k_end && (!masked || mask.keeps(offset))) value = data[offset];
            reinterpret_cast<T*>(to + place(r, c / 8))[c % 8] = value;
        }
    }

    // Matrices (rows 0-7, k 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15) from row `row` and k 16 * step of the stage: a
    // left fragment. With `right` the middle two change places: right fragments of 8 rows and the next 8.
    template <bool right>
    __device__ static void load_fragment(uint32_t (&r)[4], const uint4* stage, int row, int step) {
        const int lane = static_cast<int>(threadIdx.x) % kWarp, matrix = lane / 8;
        const int lower = right ? matrix / 2 : matrix % 2, later = right ? matrix % 2 : matrix / 2;
        if constexpr (layout == Layout::along_rows) {
            const int line = step * 16 + later * 8 + lane % 8;
            load_transposed(r, shared_address(stage + place(line, row / 8 + lower)));
        } else {
            const int line = row + lower * 8 + lane % 8;
            load_matrices(r, shared_address(stage + place(line, step * 2 + later)));
        }
    }
};

template <typename Form>
using XTile = GemmTile<typename Form::T, Form::x, Form::rows, Form::threads>;
template <typename Form>
using WTile = GemmTile<typename Form::T, Form::w, Form::cols, Form::threads>;

template <typename Form>
using Sums = float[Form::fragments_down][Form::fragments_across][4];

template <typename Form>
__device__ __forceinline__ void copy_stage(const GemmArgs& p, const DropoutMask& mask, const XTile<Form>& x,
                                           const WTile<Form>& w, uint4* stage, int64_t k, int64_t k_end) {
    uint4* of_w = stage + Form::rows * (kDepth / 8);
    if constexpr (Form::x == Layout::any) {
        x.copy_elements(stage, k, k_end, mask, p.mask_x);
        w.copy_elements(of_w, k, k_end, mask, false);
    } else {
        x.copy(stage, k, k_end);
        w.copy(of_w, k, k_end);
    }
}

template <typename Form>
__device__ __forceinline__ void multiply_stage(const uint4* stage, int warp_row, int warp_col, Sums<Form>& sums) {
    const uint4* of_w = stage + Form::rows * (kDepth / 8);
#pragma unroll
    for (int step = 0; step < kDepth / 16; ++step) {
        uint32_t a[Form::fragments_down][4], b[Form::fragments_across / 2][4];
#pragma unroll
        for (int i = 0; i < Form::fragments_down; ++i)
            XTile<Form>::template load_fragment<false>(a[i], stage, warp_row + i * 16, step);
#pragma unroll
        for (int j = 0; j < Form::fragments_across / 2; ++j)
            WTile<Form>::template load_fragment<true>(b[j], of_w, warp_col + j * 16, step);
#pragma unroll
        for (int i = 0; i < Form::fragments_down; ++i)
#pragma unroll
            for (int j = 0; j < Form::fragments_across; ++j)
                multiply_add<typename Form::T>(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
}

// What of (row, col), (row, col + 1), (row + 8, col), (row + 8, col + 1) the mask over y drops becomes 0. Eight
// elements share a random number and four lanes have them: two ask for row's number, the others for that of row + 8.
__device__ __forceinline__ void mask_fragment(const GemmArgs& p, const DropoutMask& mask, int64_t row, int64_t col,
                                              float (&c)[4]) {
    bool keep[4];
    if (p.y.row_stride % 8 == 0) {
        const bool odd = threadIdx.x % 2 != 0;
        const uint32_t mine = mask.kept_bits((row + (odd ? 8 : 0)) * p.y.row_stride + col / 8 * 8);
        const uint32_t other = __shfl_xor_sync(0xffffffffu, mine, 1);
        const auto at = static_cast<int>(col % 8);
        const uint32_t upper = (odd ? other : mine) >> at, lower = (odd ? mine : other) >> at;
        keep[0] = upper & 1, keep[1] = upper >> 1 & 1, keep[2] = lower & 1, keep[3] = lower >> 1 & 1;
    } else {
        for (int i = 0; i < 4; ++i) {
            const int64_t at = (row + i / 2 * 8) * p.y.row_stride + col + i % 2;
            keep[i] = mask.keeps(at);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) c[i] = keep[i] ? c[i] : 0.0f;
}

// Two elements of y in one word.
template <typename T>
__device__ __forceinline__ void put_word(const Output& y, int64_t at, float first, float second) {
    T* to = static_cast<T*>(y.data) + at;
    float pair[2] = {0, 0};
    if (y.beta != 0) load<2>(to, pair);
    const float sums[2] = {first + y.beta * pair[0], second + y.beta * pair[1]};
    store<2>(to, sums);
}

// y or the partial sums at (i, j) and (i, j + 1).
__device__ __forceinline__ void put_pair(const GemmArgs& p, int64_t i, int64_t j, float first, float second) {
    if (i >= p.m || j >= p.n) return;
    const bool both = j + 1 < p.n;
    if (p.partial != nullptr) {
        float* to = p.partial + (blockIdx.z * p.m + i) * p.n + j;
        to[0] = first;
        if (both) to[1] = second;
        return;
    }
    const int64_t at = i * p.y.row_stride + j * p.y.col_stride, next = at + p.y.col_stride;
    first *= p.y.alpha;
    second *= p.y.alpha;
    if (p.pairs && p.y.dtype == DType::f16) return put_word<f16>(p.y, at, first, second);
    if (p.pairs && p.y.dtype == DType::bf16) return put_word<bf16>(p.y, at, first, second);
    if (p.y.beta != 0) {
        first += p.y.beta * value_at(p.y.data, p.y.dtype, at);
        if (both) second += p.y.beta * value_at(p.y.data, p.y.dtype, next);
    }
    set_value(p.y.data, p.y.dtype, at, first);
    if (both) set_value(p.y.data, p.y.dtype, next, second);
}

// Grid: (tiles down, tiles across, parts of k).
template <typename Form>
__global__ void __launch_bounds__(Form::threads) gemm_kernel(const __grid_constant__ GemmArgs p) {
    auto* stages = reinterpret_cast<uint4*>(dynamic_shared());
    const int64_t first_row = blockIdx.x * int64_t{Form::rows}, first_col = blockIdx.y * int64_t{Form::cols};
    const int64_t k_begin = blockIdx.z * p.chunk, k_end = k_begin + p.chunk < p.k ? k_begin + p.chunk : p.k;
    const XTile<Form> x(p.x, first_row, p.m);
    const WTile<Form> w(p.w, first_col, p.n);
    const DropoutMask mask = mask_of(p);

#pragma unroll
    for (int s = 0; s < kGemmStages - 1; ++s) {
        copy_stage<Form>(p, mask, x, w, stages + s * Form::stage_pieces, k_begin + s * kDepth, k_end);
        commit_copies();
    }
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int warp_row = warp / Form::warps_across * Form::warp_rows;
    const int warp_col = warp % Form::warps_across * Form::warp_cols;
    Sums<Form> sums = {};
    int stage = 0;
    for (int64_t k = k_begin; k < k_end; k += kDepth) {
        wait_copies<kGemmStages - 2>();
        if constexpr (Form::narrow)
            if (p.mask_x) x.apply(mask, stages + stage * Form::stage_pieces, k, k_end);
        __syncthreads();  // the stage is there for all, and all are done with the one before, whose place is taken now
        const int free_stage = stage == 0 ? kGemmStages - 1 : stage - 1;
        copy_stage<Form>(p, mask, x, w, stages + free_stage * Form::stage_pieces, k + (kGemmStages - 1) * kDepth,
                         k_end);
        commit_copies();
        multiply_stage<Form>(stages + stage * Form::stage_pieces, warp_row, warp_col, sums);
        stage = stage == kGemmStages - 1 ? 0 : stage + 1;
    }
    wait_copies<0>();

#pragma unroll
    for (int i = 0; i < Form::fragments_down; ++i)
#pragma unroll
        for (int j = 0; j < Form::fragments_across; ++j) {
            const int64_t row = first_row + warp_row + i * 16 + fragment_row(0);
            const int64_t col = first_col + warp_col + fragment_col(j, 0);
            float(&c)[4] = sums[i][j];
            if constexpr (!Form::narrow && (Form::x == Layout::any || Form::w == Layout::along_rows))
                if (p.mask_y) mask_fragment(p, mask, row, col, c);
            put_pair(p, row, col, c[0], c[1]);
            put_pair(p, row + 8, col, c[2], c[3]);
        }
}

}  // namespace ggq::cuda
