// o_i[rank,c] = alpha sum over m of u_i[m,rank] mask_i(x)[m,c], as products of u^T and x. A warp takes 64 columns and
// passes over the rows of its part, 16 at a time. A lane copies 8 columns side by side of the four rows that it has in
// a fragment, so that it needs one Philox for each of them and each site; column j of all lanes' 8 is the fragment of 8
// columns number j, whose words are pairs of what two rows have there. So nothing is exchanged between lanes, and x
// passes through a queue in shared memory that no other lane looks into. u is shared by the warps of a block: 64 rows
// at a time, as sums of high and low halves if it is float, the next ones under way meanwhile. The rows are cut into
// parts, whose sums a second launch adds in order. Floor: the bytes of x; u is read once for every 256 columns, and
// sums of parts are written and read, all in L2.
#include "kernels/cuda/low_rank.cuh"
#include "kernels/cuda/low_rank_sums.h"

namespace ggq::cuda {

namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp, kWarpCols = 64, kStep = 16;

struct Outer {
    const void* x;
    const float* u[kMostModules];
    float* parts[kMostModules];  // [parts][rank][c]
    int64_t m, c, chunk;
    int rank;
    const int64_t* rng;
    DropoutScale scale;
};

template <typename Form>
struct OuterPass {
    using T = typename Form::T;
    using Narrow = NarrowTile<T, Form::rank, kOuterRows, true, kThreads>;
    static constexpr int kRows = kOuterRows;
    static constexpr int kRankTiles = Form::rank / 16, kTerms = 2;
    static constexpr int kBlocks = low_rank_outer_blocks(Form::rank, Form::n);  // of a multiprocessor
    static constexpr int kStageSlots = kWarps * WarpTile::kPieces, kNarrowBytes = 2 * Form::n * Narrow::kBytes;
    static constexpr int kStages = stages_within(shared_budget(kBlocks), kStageSlots * 16, kNarrowBytes, 6);
    static constexpr int kSharedBytes = kStages * kStageSlots * 16 + kNarrowBytes;
    static_assert(kStages >= 2);

    const Outer& p;
    uint4 *queue, *narrow;
    WarpTile pieces;
    int thread, lane, warp;
    int64_t first_row, end_row, warp_col;  // warp_col: the first of the warp's 64
    int n_rows;
    bool copies;      // this lane's pieces are inside
    const T* source;  // of the next copy
    float sums[Form::n][kRankTiles][8][4] = {};

    __device__ __forceinline__ explicit OuterPass(const Outer& args)
        : p(args),
          queue(reinterpret_cast<uint4*>(dynamic_shared())),
          narrow(queue + kStages * kStageSlots),
          thread(static_cast<int>(threadIdx.x)),
          lane(thread % kWarp),
          warp(thread / kWarp),
          first_row(blockIdx.y * args.chunk),
          end_row(first_row + args.chunk < args.m ? first_row + args.chunk : args.m),
          warp_col(blockIdx.x * kOuterCols + warp * kWarpCols),
          n_rows(static_cast<int>(end_row - first_row)) {
        const int64_t col = warp_col + 8 * pieces.copied_piece();
        copies = col < p.c;
        source = static_cast<const T*>(p.x) + (first_row + pieces.copied_row(0)) * p.c + col;
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
                from += 4 * p.c;
            }
            source += kStep * p.c;
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
        for (int i = 0; i < Form::n; ++i) u[i].read(p.u[i], DType::f32, row, end_row, p.rank, thread);
    }
    __device__ __forceinline__ void write_narrow(const Narrow (&u)[Form::n], int buffer) const {
#pragma unroll
        for (int i = 0; i < Form::n; ++i) u[i].write(narrow_tile(buffer, i), thread);
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
    __device__ __forceinline__ void write_row(float* to, const float (&sum)[8][4], int half) const {
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e)
#pragma unroll
            for (int j = 0; j < 8; j += 4)
                store<4>(to + 8 * (e % 2) + j, {sum[j][e], sum[j + 1][e], sum[j + 2][e], sum[j + 3][e]});
    }

    __device__ __forceinline__ void write() const {
        const int64_t c = warp_col + 16 * (lane % 4);
        if (c >= p.c) return;
#pragma unroll
        for (int i = 0; i < Form::n; ++i)
#pragma unroll
            for (int half = 0; half < 2 * kRankTiles; ++half) {
                const int r = 8 * half + lane / 4;
                if (r < p.rank)
                    write_row(p.parts[i] + (blockIdx.y * p.rank + r) * p.c + c, sums[i][half / 2], half % 2);
            }
    }
};

// Grid: (256 columns, parts of the rows).
template <typename Form>
__global__ void __launch_bounds__(kThreads, OuterPass<Form>::kBlocks) outer_kernel(const __grid_constant__ Outer p) {
    const SiteMasks<Form::sites> masks(p.rng, p.scale);
    OuterPass<Form> pass(p);
    pass.sum_up(masks);
    pass.write();
}

template <typename Form>
void run(const CudaContext& ctx, const Outer& p) {
    const dim3 grid(static_cast<unsigned>(ceil_div(p.c, kOuterCols)), static_cast<unsigned>(ceil_div(p.m, p.chunk)));
    launch(ctx, outer_kernel<Form>, grid, kThreads, OuterPass<Form>::kSharedBytes, p);
}

}  // namespace

void low_rank_outer(const CudaContext& ctx, const LowRankOuter& p, Scratch scratch) {
    const int at_once = modules_at_once(p.rank, p.n);
    const bool masked = drops(p.mask, p.m * p.width);
    GGQ_ASSERT(p.n <= kMostModules);
    const int64_t n_parts = low_rank_outer_parts(p.m, p.width, p.rank, p.n, *ctx.device), n_elems = p.rank * p.width;
    auto* parts = static_cast<float*>(scratch.take(p.n * n_parts * n_elems * 4));
    PartSums sums{.alpha = p.alpha * p.mask.kept()};
    for (int first = 0; first < p.n; first += at_once) {
        Outer args{.x = p.x,
                   .u = {},
                   .parts = {},
                   .m = p.m,
                   .c = p.width,
                   .chunk = low_rank_outer_chunk(p.m, p.width, p.rank, p.n, *ctx.device),
                   .rank = p.rank,
                   .rng = p.mask.rng,
                   .scale = mask_scale(p.mask, first)};
        for (int i = 0; i < at_once; ++i) {
            args.u[i] = p.u[first + i];
            args.parts[i] = parts + (first + i) * n_parts * n_elems;
            sums.of[first + i] = {args.parts[i], p.o[first + i], n_elems, static_cast<int>(n_parts)};
        }
        with_low_rank_form(p.real, p.rank, at_once, masked, [&](auto form) { run<decltype(form)>(ctx, args); });
    }
    sum_parts(ctx, sums);
}

}  // namespace ggq::cuda
