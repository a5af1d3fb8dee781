// o_i[rank,c] = alpha sum over m of u_i[m,rank] mask_i(x)[m,c], as the product of x^T and u. A warp takes 32 columns
// and passes over the rows of its part, 16 at a time; what a lane copies of x are 8 elements side by side of two rows,
// so that it needs one Philox for each of them and each site. Masked pieces go through shared memory of the warp, where
// x^T is read by transposing loads; without a mask the queue itself is read so. u is shared by the warps of a block: 64
// rows at a time, as sums of high and low halves if it is float, the next ones under way meanwhile. The rows are cut
// into parts, whose sums a second launch adds in order.
// Floor: the bytes of x; u is read once for every 256 columns, and sums of parts are written and read, all in L2.
#include "kernels/cuda/low_rank.cuh"

namespace ggq::cuda {

namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp, kWarpCols = 32, kStep = 16;
constexpr int kPieces = kStep * kWarpCols / 8;  // of 16 bytes in a step of a warp
constexpr int kSumThreads = 256;

// Where sums go: element (r, c) of module i of part s.
struct Sums {
    float* to[kMostModules];
    int64_t part_stride, r_stride, c_stride;
    float alpha;
};

struct Outer {
    const void* x;
    const void* u[kMostModules];
    DType u_dtype;
    int64_t m, c, chunk, x_stride;
    int rank;
    Sums sums;
    const int64_t* rng;
    DropoutScale scale;
};

template <typename Form, bool halves>
struct OuterPass {
    using T = typename Form::T;
    using Narrow = NarrowTile<T, Form::rank, kOuterRows, halves>;
    static constexpr int kRankTiles = Form::rank / 8, kTerms = halves ? 2 : 1;
    static constexpr int kStageBytes = kWarps * kPieces * 16;
    static constexpr int kMasked = Form::masked ? Form::n : 0;  // further stages, for masked pieces
    static constexpr int kNarrowBytes = 2 * Form::n * Narrow::kBytes;
    static constexpr int kStages = stages_within(kStageBytes, kNarrowBytes + kMasked * kStageBytes, 6);
    static constexpr int kSharedBytes = (kStages + kMasked) * kStageBytes + kNarrowBytes;
    static_assert(kStages >= 2);

    const Outer& p;
    uint4 *queue, *masked, *narrow;
    int lane, warp, g, t;
    int64_t first_row, end_row, first_col;
    bool has_columns;
    float sums[Form::n][2][kRankTiles][4] = {};

    __device__ __forceinline__ explicit OuterPass(const Outer& args)
        : p(args),
          lane(static_cast<int>(threadIdx.x) % kWarp),
          warp(static_cast<int>(threadIdx.x) / kWarp),
          g(lane / 4),
          t(lane % 4),
          first_row(blockIdx.y * args.chunk),
          end_row(first_row + args.chunk < args.m ? first_row + args.chunk : args.m),
          first_col(blockIdx.x * kOuterCols + warp * kWarpCols),
          has_columns(first_col < args.c) {
        auto* shared = reinterpret_cast<uint4*>(dynamic_shared());
        queue = shared + warp * kPieces;
        masked = queue + kStages * kWarps * kPieces;
        narrow = shared + (kStages + kMasked) * kWarps * kPieces;
    }

    // Of rows of 4 pieces; 8 rows of a column of pieces lie in different banks.
    __device__ __forceinline__ static int place(int row, int piece) { return row * 4 + (piece ^ row / 2 % 4); }
    __device__ __forceinline__ uint4* stage_at(uint4* base, int stage) const { return base + stage * kWarps * kPieces; }

    __device__ __forceinline__ void copy_step(int stage, int64_t row) const {
        if (row < end_row && has_columns) {
            const T* x = static_cast<const T*>(p.x) + first_col + 8 * t;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int64_t at = row + 8 * half + g;
                const bool there = at < end_row;
                copy_async(stage_at(queue, stage) + place(8 * half + g, t), x + (there ? at : 0) * p.x_stride, there);
            }
        }
        commit_copies();
    }

    // Own pieces of a stage, masked for every site.
    __device__ __forceinline__ void mask_step(int stage, int64_t row, const SiteMasks<Form::sites>& masks) const {
        const auto width = static_cast<uint32_t>(p.c / kMaskGroup);
        const uint32_t group =
            static_cast<uint32_t>(row + g) * width + static_cast<uint32_t>(first_col / kMaskGroup) + t;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int at = place(8 * half + g, t);
            const uint4 x = stage_at(queue, stage)[at];
            const auto start = masks.start(group + 8 * half * width);
#pragma unroll
            for (int i = 0; i < Form::n; ++i) stage_at(masked, i)[at] = masks.masked(x, start, i);
        }
    }

    // Fragments of x^T: 16 columns each.
    __device__ __forceinline__ void read_x(const uint4* stage, uint32_t (&x)[2][4]) const {
        const int matrix = lane / 8, row = matrix / 2 * 8 + lane % 8;
#pragma unroll
        for (int f = 0; f < 2; ++f) load_transposed(x[f], shared_address(stage + place(row, 2 * f + matrix % 2)));
    }

    // `row` is that of the narrow tile.
    __device__ __forceinline__ void multiply_module(int module, const uint4* tile, int row, const uint32_t (&x)[2][4]) {
        const int matrix = lane / 8, at = row + matrix % 2 * 8 + lane % 8;
#pragma unroll
        for (int term = 0; term < kTerms; ++term)
#pragma unroll
            for (int pair = 0; pair < kRankTiles / 2; ++pair) {
                uint32_t u[4];
                const int piece = 2 * pair + matrix / 2;
                load_transposed(u, shared_address(tile + term * Narrow::kPieces + piece * kOuterRows + at));
#pragma unroll
                for (int f = 0; f < 2; ++f) {
                    multiply_add<T>(sums[module][f][2 * pair], x[f], u[0], u[1]);
                    multiply_add<T>(sums[module][f][2 * pair + 1], x[f], u[2], u[3]);
                }
            }
    }

    __device__ __forceinline__ uint4* narrow_tile(int buffer, int module) const {
        return narrow + (buffer * Form::n + module) * (Narrow::kBytes / 16);
    }

    __device__ __forceinline__ void multiply_step(int stage, int buffer, int row_in_tile) {
        uint32_t x[2][4];
#pragma unroll
        for (int i = 0; i < Form::n; ++i) {
            if (Form::masked || i == 0) read_x(Form::masked ? stage_at(masked, i) : stage_at(queue, stage), x);
            multiply_module(i, narrow_tile(buffer, i), row_in_tile, x);
        }
    }

    __device__ __forceinline__ void read_narrow(Narrow (&u)[Form::n], int64_t row) const {
#pragma unroll
        for (int i = 0; i < Form::n; ++i) u[i].read(p.u[i], p.u_dtype, row, end_row, p.rank);
    }
    __device__ __forceinline__ void write_narrow(const Narrow (&u)[Form::n], int buffer) const {
#pragma unroll
        for (int i = 0; i < Form::n; ++i) u[i].write(narrow_tile(buffer, i));
    }

    __device__ __forceinline__ void sum_up(const SiteMasks<Form::sites>& masks) {
#pragma unroll
        for (int s = 0; s < kStages - 1; ++s) copy_step(s, first_row + s * kStep);
        Narrow u[Form::n];
        read_narrow(u, first_row);
        write_narrow(u, 0);
        int stage = 0, buffer = 0;
        for (int64_t tile = first_row; tile < end_row; tile += kOuterRows) {
            __syncthreads();  // this tile of u is there, and all are done with the one before
            const bool more = tile + kOuterRows < end_row;
            if (more) read_narrow(u, tile + kOuterRows);
            for (int64_t row = tile; row < tile + kOuterRows && row < end_row; row += kStep) {
                const int free_stage = stage == 0 ? kStages - 1 : stage - 1;
                __syncwarp();  // all lanes are done with the step before
                copy_step(free_stage, row + (kStages - 1) * kStep);
                wait_copies<kStages - 1>();
                if constexpr (Form::masked) mask_step(stage, row, masks);
                __syncwarp();
                multiply_step(stage, buffer, static_cast<int>(row - tile));
                stage = stage == kStages - 1 ? 0 : stage + 1;
            }
            buffer ^= 1;
            if (more) write_narrow(u, buffer);
        }
        wait_copies<0>();
    }

    __device__ __forceinline__ void write() const {
        if (!has_columns) return;
#pragma unroll
        for (int i = 0; i < Form::n; ++i) {
            float* to = p.sums.to[i] + blockIdx.y * p.sums.part_stride;
#pragma unroll
            for (int f = 0; f < 2; ++f)
#pragma unroll
                for (int e = 0; e < kRankTiles * 4; ++e) {
                    const int r = e / 4 * 8 + 2 * t + e % 2;
                    const int64_t c = first_col + 16 * f + e % 4 / 2 * 8 + g;
                    if (r < p.rank)
                        to[r * p.sums.r_stride + c * p.sums.c_stride] = p.sums.alpha * sums[i][f][e / 4][e % 4];
                }
        }
    }
};

// Grid: (256 columns, parts of the rows).
template <typename Form, bool halves>
__global__ void __launch_bounds__(kThreads, 2) outer_kernel(const __grid_constant__ Outer p) {
    const SiteMasks<Form::sites> masks(p.rng, p.scale);
    OuterPass<Form, halves> pass(p);
    pass.sum_up(masks);
    pass.write();
}

// o of all modules from their parts. Elements are numbered as they lie in memory: rows of `inner`, contiguous in parts,
// and in o too but for a step of outer_stride from row to row.
struct PartSums {
    const float* parts;
    float* to[kMostModules];
    int64_t n_elems, inner, outer_stride, inner_stride;  // of a module
    int n_parts;
    float alpha;
};

// Grid: (elements, modules).
__global__ void __launch_bounds__(kSumThreads) sum_parts_kernel(const __grid_constant__ PartSums p) {
    const int64_t i = blockIdx.x * int64_t{kSumThreads} + threadIdx.x;
    if (i >= p.n_elems) return;
    const float* from = p.parts + blockIdx.y * p.n_parts * p.n_elems + i;
    float sum = 0;
#pragma unroll 8
    for (int s = 0; s < p.n_parts; ++s) sum += from[s * p.n_elems];
    float* to = blockIdx.y == 0 ? p.to[0] : blockIdx.y == 1 ? p.to[1] : p.to[2];
    to[i / p.inner * p.outer_stride + i % p.inner * p.inner_stride] = p.alpha * sum;
}

template <typename Form, bool halves>
void run(const CudaContext& ctx, const Outer& p) {
    const dim3 grid(static_cast<unsigned>(ceil_div(p.c, kOuterCols)),
                    static_cast<unsigned>(p.m > p.chunk ? ceil_div(p.m, p.chunk) : 1));
    launch(ctx, outer_kernel<Form, halves>, grid, kThreads, OuterPass<Form, halves>::kSharedBytes, p);
}

void outer_pass(const CudaContext& ctx, const Outer& args, DType real, int n, bool masked) {
    with_low_rank_form(real, args.rank, n, masked, [&](auto form) {
        using Form = decltype(form);
        args.u_dtype == DType::f32 ? run<Form, true>(ctx, args) : run<Form, false>(ctx, args);
    });
}

// Parts lie as o does: rows of o's inner dimension.
void sum_parts(const CudaContext& ctx, const LowRankOuter& p, int64_t parts, const float* sums, float alpha) {
    const bool by_columns = p.c_stride != 1;
    PartSums args{.parts = sums,
                  .to = {p.o[0], p.o[1], p.o[2]},
                  .n_elems = p.rank * p.c,
                  .inner = by_columns ? p.rank : p.c,
                  .outer_stride = by_columns ? p.c_stride : p.r_stride,
                  .inner_stride = by_columns ? p.r_stride : p.c_stride,
                  .n_parts = static_cast<int>(parts),
                  .alpha = alpha};
    const dim3 grid(static_cast<unsigned>(ceil_div(args.n_elems, kSumThreads)), static_cast<unsigned>(p.n));
    launch(ctx, sum_parts_kernel, grid, kSumThreads, 0, args);
}

}  // namespace

void low_rank_outer(const CudaContext& ctx, const LowRankOuter& p, Scratch scratch) {
    const int at_once = modules_at_once(p.rank, p.n);
    const bool masked = drops(p.mask, p.m * p.c), by_columns = p.c_stride != 1;
    const float alpha = p.alpha * p.mask.kept();
    GGQ_ASSERT(p.n <= kMostModules && (p.u_dtype == DType::f32 || p.u_dtype == p.real));
    const int64_t n_parts = low_rank_outer_parts(p.m, p.c, *ctx.device), n_elems = p.rank * p.c;
    float* parts = n_parts > 1 ? static_cast<float*>(scratch.take(p.n * n_parts * n_elems * 4)) : nullptr;
    for (int first = 0; first < p.n; first += at_once) {
        Outer args{.x = p.x,
                   .u = {},
                   .u_dtype = p.u_dtype,
                   .m = p.m,
                   .c = p.c,
                   .chunk = low_rank_outer_chunk(p.m, p.c, *ctx.device),
                   .x_stride = p.x_stride,
                   .rank = p.rank,
                   .sums = {},
                   .rng = p.mask.rng,
                   .scale = mask_scale(p.mask, first)};
        args.sums =
            n_parts > 1
                ? Sums{.to = {},
                       .part_stride = n_elems,
                       .r_stride = by_columns ? 1 : p.c,
                       .c_stride = by_columns ? p.rank : 1,
                       .alpha = 1}
                : Sums{.to = {}, .part_stride = 0, .r_stride = p.r_stride, .c_stride = p.c_stride, .alpha = alpha};
        for (int i = 0; i < at_once; ++i) {
            args.u[i] = p.u[first + i];
            args.sums.to[i] = n_parts > 1 ? parts + (first + i) * n_parts * n_elems : p.o[first + i];
        }
        outer_pass(ctx, args, p.real, at_once, masked);
    }
    if (n_parts > 1) sum_parts(ctx, p, n_parts, parts, alpha);
}

}  // namespace ggq::cuda
