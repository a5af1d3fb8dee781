// dxa[m,rank] = alpha dy b and db[n,rank] = alpha dy^T xa in one reading of dy. A block takes a rectangle of dy and
// passes over its rows, 16 at a time. For db each warp multiplies a strip of their columns, turned, by the 16 rows of
// xa; its sums stay in registers for all rows of the block. For dxa each warp multiplies 8 columns of b, whose pieces
// stay in registers, by a few strips or all of them; the sums of the warps that have the same columns of b are added
// through shared memory. So each block leaves a part of dxa for its columns and a part of db for its rows, and a second
// launch adds the parts in order.
// Floor: the bytes of dy; parts take 2 rank / columns + 2 rank / rows of a block of them, written and read in L2.
#include "kernels/cuda/low_rank.cuh"
#include "kernels/cuda/low_rank_sums.h"

namespace ggq::cuda {

namespace {

constexpr int kWarps = kBackwardWarps, kThreads = kWarps * kWarp, kStep = 16;

struct Backward {
    const void *dy, *xa, *b;
    float *dxa, *db;  // parts: [column parts][m][padded rank], [row parts][n][padded rank]
    int64_t m, n, chunk;
    int rank;
};

// Strips of `width` columns.
template <typename T, int rank, int width>
struct BackwardPass {
    static constexpr int kTiles = rank / 8, kPieces = width / 16;  // of the rank, 16 by 16 in 16 rows of a strip
    static constexpr int kGroups = kWarps / kTiles;  // of kTiles strips, which as many warps multiply by b, a tile each
    static constexpr int kCols = kWarps * width, kRowSlots = width / 8;
    static constexpr int kStripSlots = kStep * kRowSlots, kXaSlots = kTiles * kStep;
    static constexpr int kStageSlots = kWarps * kStripSlots + kXaSlots;
    static constexpr int kSums = kStep * rank;  // of dxa in a step
    static constexpr int kSumBytes = 2 * kGroups * kSums * 4;
    static constexpr int kBlocks = backward_blocks(rank);  // of a multiprocessor
    static constexpr int kStages = stages_within(shared_budget(2), kStageSlots * 16, kSumBytes, 6);
    static constexpr int kSharedBytes = kStages * kStageSlots * 16 + kSumBytes;
    static_assert(kStages >= 2);

    const Backward& p;
    uint4* queue;
    float* sums;  // of all groups, for two steps
    int lane, warp, g, t, tile, group;
    int64_t first_row, first_col;  // of the block; of the warp
    int n_rows;
    uint32_t b[kTiles][kPieces][2];
    float db[kPieces][kTiles][4] = {};

    __device__ __forceinline__ explicit BackwardPass(const Backward& args)
        : p(args),
          queue(reinterpret_cast<uint4*>(dynamic_shared())),
          sums(reinterpret_cast<float*>(queue + kStages * kStageSlots)),
          lane(static_cast<int>(threadIdx.x) % kWarp),
          warp(static_cast<int>(threadIdx.x) / kWarp),
          g(lane / 4),
          t(lane % 4),
          tile(warp % kTiles),
          group(warp / kTiles),
          first_row(blockIdx.y * args.chunk),
          first_col(blockIdx.x * int64_t{kCols} + warp * width),
          n_rows(static_cast<int>(args.chunk < args.m - first_row ? args.chunk : args.m - first_row)) {}

    // Of 16 bytes in a strip: rows of 8 pieces side by side, up or down, are in different banks.
    __device__ __forceinline__ static int place(int row, int piece) {
        constexpr int kTurns = kRowSlots < 8 ? kRowSlots : 8;
        return row * kRowSlots + (piece ^ row / (8 / kTurns) % kTurns);
    }
    __device__ __forceinline__ uint4* strip(int stage, int i) const {
        return queue + stage * kStageSlots + i * kStripSlots;
    }
    __device__ __forceinline__ uint4* xa_tile(int stage) const {
        return queue + stage * kStageSlots + kWarps * kStripSlots;
    }

    // Matrices of 8 by 8, as [8 of the rank][row].
    __device__ __forceinline__ void copy_xa(int stage, int row) const {
        const int i = static_cast<int>(threadIdx.x), at = row + i / kTiles, col = i % kTiles * 8;
        if (i >= kXaSlots) return;
        uint4* to = xa_tile(stage) + i % kTiles * kStep + i / kTiles;
        const T* from = static_cast<const T*>(p.xa) + (first_row + at) * p.rank + col;
        if (p.rank % 8 == 0) return copy_async(to, from, at < n_rows && col < p.rank);
        T eight[8];
#pragma unroll
        for (int e = 0; e < 8; ++e) eight[e] = at < n_rows && col + e < p.rank ? from[e] : T{0};
        *to = *reinterpret_cast<const uint4*>(eight);
    }

    __device__ __forceinline__ void copy_step(int stage, int row) const {
        if (row < n_rows) {
            const T* dy = static_cast<const T*>(p.dy) + (first_row + row) * p.n + first_col;
#pragma unroll
            for (int i = 0; i < kStripSlots / kWarp; ++i) {
                const int at = (i * kWarp + lane) / kRowSlots, piece = (i * kWarp + lane) % kRowSlots;
                copy_async_of_line(strip(stage, warp) + place(at, piece), dy + at * p.n + 8 * piece,
                                   row + at < n_rows && first_col + 8 * piece < p.n);
            }
            copy_xa(stage, row);
        }
        commit_copies();
    }

    __device__ __forceinline__ uint32_t b_at(int64_t col) const {
        const int r = 8 * tile + g;
        return col < p.n && r < p.rank ? static_cast<const T*>(p.b)[col * p.rank + r].bits : 0u;
    }

    __device__ __forceinline__ void read_b() {
        const int64_t first = blockIdx.x * int64_t{kCols} + group * kTiles * width + 2 * t;
#pragma unroll
        for (int i = 0; i < kTiles * kPieces; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int64_t col = first + 16 * i + 8 * half;
                b[i / kPieces][i % kPieces][half] = b_at(col) | b_at(col + 1) << 16;
            }
    }

    // What this lane asks for of piece i of a strip.
    __device__ __forceinline__ uint32_t address(const uint4* strip, int i) const {
        return shared_address(strip + place(lane % 16, 2 * i + lane / 16));
    }

    __device__ __forceinline__ void add_to_db(int stage) {
        uint32_t xa[kTiles / 2][4];
#pragma unroll
        for (int j = 0; j < kTiles / 2; ++j)
            load_transposed(xa[j], shared_address(xa_tile(stage) + (2 * j + lane / 16) * kStep + lane % 16));
#pragma unroll
        for (int i = 0; i < kPieces; ++i) {
            uint32_t turned[4];
            load_transposed(turned, address(strip(stage, warp), i));
            const uint32_t columns[4] = {turned[0], turned[2], turned[1], turned[3]};
#pragma unroll
            for (int j = 0; j < kTiles; ++j)
                multiply_add<T>(db[i][j], columns, xa[j / 2][j % 2 * 2], xa[j / 2][j % 2 * 2 + 1]);
        }
    }

    // Of two sums, so that a product need not wait for the one before.
    __device__ __forceinline__ void sum_dxa(int stage, float (&dxa)[4]) const {
        float odd[4] = {};
#pragma unroll
        for (int s = 0; s < kTiles; ++s)
#pragma unroll
            for (int i = 0; i < kPieces; ++i) {
                uint32_t dy[4];
                load_matrices(dy, address(strip(stage, group * kTiles + s), i));
                multiply_add<T>(i % 2 == 0 ? dxa : odd, dy, b[s][i][0], b[s][i][1]);
            }
#pragma unroll
        for (int e = 0; e < 4; ++e) dxa[e] += odd[e];
    }

    __device__ __forceinline__ void put_sums(int buffer, const float (&dxa)[4]) const {
        float* to = sums + ((buffer * kGroups + group) * kStep + g) * rank + 8 * tile + 2 * t;
        *reinterpret_cast<float2*>(to) = {dxa[0], dxa[1]};
        *reinterpret_cast<float2*>(to + 8 * rank) = {dxa[2], dxa[3]};
    }

    // Those of all groups for the 16 rows from `row` on, in order.
    __device__ __forceinline__ void add_sums(int buffer, int row) const {
        constexpr int kOfThread = kSums / kThreads;
        const int i = static_cast<int>(threadIdx.x) * kOfThread;
        const float* from = sums + buffer * kGroups * kSums + i;
        float sum[kOfThread] = {};
#pragma unroll
        for (int s = 0; s < kGroups; ++s) {
            float more[kOfThread];
            load<kOfThread>(from + s * kSums, more);
#pragma unroll
            for (int e = 0; e < kOfThread; ++e) sum[e] += more[e];
        }
        if (row + i / rank < n_rows) store<kOfThread>(p.dxa + (blockIdx.x * p.m + first_row + row) * rank + i, sum);
    }

    __device__ __forceinline__ void pass_rows() {
        for (int s = 0; s < kStages - 1; ++s) copy_step(s, s * kStep);
        read_b();
        int stage = 0, buffer = 0;
        for (int row = 0; row < n_rows; row += kStep) {
            wait_copies<kStages - 2>();
            __syncthreads();  // this stage and the sums of the one before are there, and its place is free
            copy_step(stage == 0 ? kStages - 1 : stage - 1, row + (kStages - 1) * kStep);
            if (row > 0) add_sums(buffer ^ 1, row - kStep);
            float dxa[4] = {};
            sum_dxa(stage, dxa);
            put_sums(buffer, dxa);
            add_to_db(stage);
            stage = stage == kStages - 1 ? 0 : stage + 1;
            buffer ^= 1;
        }
        wait_copies<0>();
        __syncthreads();
        add_sums(buffer ^ 1, (n_rows - 1) / kStep * kStep);
    }

    __device__ __forceinline__ void write_db() const {
#pragma unroll
        for (int i = 0; i < kPieces; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int64_t col = first_col + 16 * i + 8 * half + g;
                if (col >= p.n) continue;
                float* to = p.db + (blockIdx.y * p.n + col) * rank + 2 * t;
#pragma unroll
                for (int j = 0; j < kTiles; ++j)
                    *reinterpret_cast<float2*>(to + 8 * j) = {db[i][j][2 * half], db[i][j][2 * half + 1]};
            }
    }
};

// Grid: (columns, rows).
template <typename T, int rank, int width>
__global__ void __launch_bounds__(kThreads, BackwardPass<T, rank, width>::kBlocks)
    backward_kernel(const __grid_constant__ Backward p) {
    BackwardPass<T, rank, width> pass(p);
    pass.pass_rows();
    pass.write_db();
}

template <typename T, int rank, int width>
void run(const CudaContext& ctx, const Backward& p, const BackwardCut& cut) {
    const dim3 grid(static_cast<unsigned>(cut.col_parts), static_cast<unsigned>(cut.row_parts));
    launch(ctx, backward_kernel<T, rank, width>, grid, kThreads, BackwardPass<T, rank, width>::kSharedBytes, p);
}

template <typename T>
void run_strips(const CudaContext& ctx, const Backward& p, const BackwardCut& cut) {
    if (cut.padded == 64) run<T, 64, 64>(ctx, p, cut);
    else if (cut.padded == 32) run<T, 32, 64>(ctx, p, cut);
    else if (cut.width == 64) run<T, 16, 64>(ctx, p, cut);
    else run<T, 16, 32>(ctx, p, cut);
}

}  // namespace

void low_rank_backward(const CudaContext& ctx, const LowRankBackward& p, Scratch scratch) {
    const BackwardCut cut = backward_cut(p.m, p.n, p.rank, *ctx.device);
    const int64_t dxa_elems = p.m * cut.padded, db_elems = p.n * cut.padded;
    Backward args{.dy = p.dy,
                  .xa = p.xa,
                  .b = p.b,
                  .dxa = static_cast<float*>(scratch.take(cut.col_parts * dxa_elems * 4)),
                  .db = static_cast<float*>(scratch.take(cut.row_parts * db_elems * 4)),
                  .m = p.m,
                  .n = p.n,
                  .chunk = cut.chunk,
                  .rank = p.rank};
    if (p.real == DType::bf16) run_strips<bf16>(ctx, args, cut);
    else run_strips<f16>(ctx, args, cut);
    sum_parts(ctx, {.of = {{args.dxa, p.dxa, dxa_elems, static_cast<int>(cut.col_parts)},
                           {args.db, p.db, db_elems, static_cast<int>(cut.row_parts)}},
                    .rank = p.rank,
                    .padded = cut.padded,
                    .alpha = p.alpha});
}

}  // namespace ggq::cuda
