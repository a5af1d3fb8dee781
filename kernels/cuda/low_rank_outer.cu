// o_i[rank,c] = alpha sum over m of u_i[m,rank] mask_i(x)[m,c], as products of u^T and x. A warp takes 64 columns and
// passes over the rows of its part, 16 at a time. A lane copies 8 columns side by side of the four rows that it has in
// a fragment, so that it needs one Philox for each of them and each site; column j of all lanes' 8 is the fragment of 8
// columns number j, whose words are pairs of what two rows have there. So nothing is exchanged between lanes, and x
// passes through a queue in shared memory that no other lane looks into. u is shared by the warps of a block: 64 rows
// at a time, as sums of high and low halves if it is float, the next ones under way meanwhile. The rows are cut into
// parts, whose sums a second launch adds in order. Floor: the bytes of x; u is read once for every 256 columns, and
// sums of parts are written and read, all in L2.
#include "kernels/cuda/low_rank.cuh"

namespace ggq::cuda {

namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp, kWarpCols = 64, kStep = 16;
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
    using Narrow = NarrowTile<T, Form::rank, kOuterRows, halves, kThreads>;
    static constexpr int kRows = kOuterRows;
    static constexpr int kRankTiles = Form::rank / 16, kTerms = halves ? 2 : 1;
    static constexpr int kBlocks = low_rank_outer_blocks(Form::rank, Form::n);  // of a multiprocessor
    static constexpr int kStageSlots = kWarps * WarpTile::kPieces, kNarrowBytes = 2 * Form::n * Narrow::kBytes;
    static constexpr int kStages = stages_within(shared_budget(kBlocks), kStageSlots * 16, kNarrowBytes, 6);
    static constexpr int kSharedBytes = kStages * kStageSlots * 16 + kNarrowBytes;
    static_assert(kStages >= 2);

    const Outer& p;
    uint4 *queue, *narrow;
    WarpTile pieces;
    int lane, warp;
    int64_t first_row, end_row, warp_col;  // warp_col: the first of the warp's 64
    int n_rows;
    bool copies;      // this lane's pieces are inside
    const T* source;  // of the next copy
    float sums[Form::n][kRankTiles][8][4] = {};

    __device__ __forceinline__ explicit OuterPass(const Outer& args)
        : p(args),
          queue(reinterpret_cast<uint4*>(dynamic_shared())),
          narrow(queue + kStages * kStageSlots),
          lane(static_cast<int>(threadIdx.x) % kWarp),
          warp(static_cast<int>(threadIdx.x) / kWarp),
          first_row(blockIdx.y * args.chunk),
          end_row(first_row + args.chunk < args.m ? first_row + args.chunk : args.m),
          warp_col(blockIdx.x * kOuterCols + warp * kWarpCols),
          n_rows(static_cast<int>(end_row - first_row)) {
        const int64_t col = warp_col + 8 * pieces.copied_piece();
        copies = col < p.c;
        source = static_cast<const T*>(p.x) + (first_row + pieces.copied_row(0)) * p.x_stride + col;
    }

    __device__ __forceinline__ uint4* stage_at(int stage) const {
        return queue + stage * kStageSlots + warp * WarpTile::kPieces;
    }

    // The step that begins at row `row` of the block, of which the copies come in order.
    __device__ __forceinline__ void copy_step(int stage, int row) {
        if (copies && row < n_rows) {
            const T* from = source;
#pragma unroll
            for (int i = 0; i < WarpTile::kAccesses; ++i) {
                copy_async_of_line(stage_at(stage) + pieces.copied(i), from, row + pieces.copied_row(i) < n_rows);
                from += 4 * p.x_stride;
            }
            source += kStep * p.x_stride;
        }
        commit_copies();
    }

    __device__ __forceinline__ uint4* narrow_tile(int buffer, int module) const {
        return narrow + (buffer * Form::n + module) * (Narrow::kBytes / 16);
    }

    // u^T[16 of the rank, 16 rows] times x[16 rows, 64 columns]: column j of each lane's 8 makes a fragment. `row` is
    // that of the narrow tile.
    __device__ __forceinline__ void multiply(int module, const uint4* tile, int row, const uint4 (&x)[4]) {
        const int matrix = lane / 8, at = row + matrix / 2 * 8 + lane % 8;
#pragma unroll
        for (int term = 0; term < kTerms; ++term)
#pragma unroll
            for (int r = 0; r < kRankTiles; ++r) {
                uint32_t u[4];
                const int piece = 2 * r + matrix % 2;
                load_transposed(u, shared_address(tile + term * Narrow::kPieces + piece * kOuterRows + at));
#pragma unroll
                for (int j = 0; j < 8; ++j)
                    multiply_add<T>(sums[module][r][j], u, pair_of(word_of(x[0], j / 2), word_of(x[1], j / 2), j % 2),
                                    pair_of(word_of(x[2], j / 2), word_of(x[3], j / 2), j % 2));
            }
    }

    __device__ __forceinline__ void multiply_step(int stage, int row, int buffer, const SiteMasks<Form::sites>& masks) {
        const auto width = static_cast<uint32_t>(p.c / kMaskGroup);
        const uint32_t group = static_cast<uint32_t>(first_row + row) * width +
                               static_cast<uint32_t>(warp_col / kMaskGroup + pieces.piece());
        const int row_in_tile = row % kRows;
        uint4 x[4];
        typename SiteMasks<Form::sites>::Start start[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            x[i] = stage_at(stage)[pieces.own(i)];
            start[i] = masks.start(group + static_cast<uint32_t>(pieces.row(i)) * width);
        }
#pragma unroll
        for (int i = 0; i < Form::n; ++i) {
            if constexpr (Form::masked) {
                uint4 masked[4];
#pragma unroll
                for (int e = 0; e < 4; ++e) masked[e] = masks.masked(x[e], start[e], i);
                multiply(i, narrow_tile(buffer, i), row_in_tile, masked);
            } else {
                multiply(i, narrow_tile(buffer, i), row_in_tile, x);
            }
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
        for (int s = 0; s < kStages - 1; ++s) copy_step(s, s * kStep);
        Narrow u[Form::n];
        read_narrow(u, first_row);
        write_narrow(u, 0);
        int stage = 0, buffer = 0;
        for (int tile = 0; tile < n_rows; tile += kRows) {
            __syncthreads();  // this tile of u is there, and all are done with the one before
            const bool more = tile + kRows < n_rows;
            if (more) read_narrow(u, first_row + tile + kRows);
            for (int row = tile; row < tile + kRows && row < n_rows; row += kStep) {
                wait_copies<kStages - 2>();
                __syncwarp();  // this stage is there, and all lanes are done with the one before, whose place is taken
                copy_step(stage == 0 ? kStages - 1 : stage - 1, row + (kStages - 1) * kStep);
                multiply_step(stage, row, buffer, masks);
                stage = stage == kStages - 1 ? 0 : stage + 1;
            }
            buffer ^= 1;
            if (more) write_narrow(u, buffer);
        }
        wait_copies<0>();
    }

    // Of its part of a row of 64 columns a lane has 16 side by side: slot 2 t + e of fragment j stands for column
    // 8 (2 t + e) + j.
    __device__ __forceinline__ void write_row(float* to, int64_t c, const float (&sum)[8][4], int half) const {
#pragma unroll
        for (int e = 0; e < 2; ++e)
#pragma unroll
            for (int j = 0; j < 8; j += 4) {
                const float four[4] = {p.sums.alpha * sum[j][2 * half + e], p.sums.alpha * sum[j + 1][2 * half + e],
                                       p.sums.alpha * sum[j + 2][2 * half + e],
                                       p.sums.alpha * sum[j + 3][2 * half + e]};
                float* at = to + (c + 8 * e + j) * p.sums.c_stride;
                if (p.sums.c_stride == 1) {
                    store<4>(at, four);
                    continue;
                }
#pragma unroll
                for (int i = 0; i < 4; ++i) at[i * p.sums.c_stride] = four[i];
            }
    }

    __device__ __forceinline__ void write() const {
        const int64_t c = warp_col + 16 * (lane % 4);
        if (c >= p.c) return;
#pragma unroll
        for (int i = 0; i < Form::n; ++i)
#pragma unroll
            for (int half = 0; half < 2 * kRankTiles; ++half) {
                const int r = 8 * half + lane / 4;
                float* to = p.sums.to[i] + blockIdx.y * p.sums.part_stride + r * p.sums.r_stride;
                if (r < p.rank) write_row(to, c, sums[i][half / 2], half % 2);
            }
    }
};

// Grid: (256 columns, parts of the rows).
template <typename Form, bool halves>
__global__ void __launch_bounds__(kThreads, OuterPass<Form, halves>::kBlocks)
    outer_kernel(const __grid_constant__ Outer p) {
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
    const int64_t n_parts = low_rank_outer_parts(p.m, p.c, p.rank, p.n, *ctx.device), n_elems = p.rank * p.c;
    float* parts = n_parts > 1 ? static_cast<float*>(scratch.take(p.n * n_parts * n_elems * 4)) : nullptr;
    for (int first = 0; first < p.n; first += at_once) {
        Outer args{.x = p.x,
                   .u = {},
                   .u_dtype = p.u_dtype,
                   .m = p.m,
                   .c = p.c,
                   .chunk = low_rank_outer_chunk(p.m, p.c, p.rank, p.n, *ctx.device),
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
