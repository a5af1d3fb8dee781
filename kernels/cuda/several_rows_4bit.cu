// Several rows of x against 4-bit weights on Hopper: the weights are the left factor of products of warp groups,
// decoded in registers two a table read (code_pairs.cuh), and x, 8 to 64 rows of it at a time, the right one, read by
// the tensor cores from shared memory. Floor: the bytes of w; then, at 64 weights of 16 warps' table reads a cycle and
// 64 bytes of x for each, the cycles of shared memory: 64 + 40 + columns of x for 64 x 64 weights.
//
// A block of 16 warps has 256 rows of w, and goes along k in steps of 128. Codes and scales are up to five steps ahead
// of their use in shared memory, each warp's own; x, put in the order in which lanes have codes, is one step ahead. A
// block of 64 weights has one scale, so a group's sums over 64 k are scaled and added. Blocks have equally long pieces
// of all steps of all tiles (Osama et al., Stream-K, 2023), whose sums another kernel adds, in order.
//
// The first codes and the table are there before the kernel waits for the one in front of it.
#include <algorithm>

#include "kernels/cuda/code_products.cuh"
#include "kernels/cuda/several_rows_4bit.cuh"

namespace ggq::cuda {

namespace several_rows {

using namespace hopper;

// The pair of weights of byte `byte` (a constant) of a word of codes.
__device__ __forceinline__ uint32_t wide_pair_at(const unsigned char* table, uint32_t lane_bytes, uint32_t word,
                                                 int byte) {
    const uint32_t at = __byte_perm(word, lane_bytes, 0x5504u | static_cast<uint32_t>(byte) << 4);
    return *reinterpret_cast<const uint32_t*>(table + at);
}

// The lanes of each warp write theirs of 16 entries, which have one first level.
template <typename T>
__device__ __forceinline__ void fill_wide_table(unsigned char* table, DType format, int warp, int lane) {
    const float mine = level(format, lane % 16), first = __shfl_sync(0xffffffffu, mine, warp);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        const float second = __shfl_sync(0xffffffffu, mine, i);
        *reinterpret_cast<uint32_t*>(table + (warp * 16 + i) * 256 + lane * 4) = pack_pair<T>(first, second);
    }
}

// The four left fragments of a unit.
template <int row_bytes>
__device__ __forceinline__ void decode(uint32_t (&a)[4][4], const unsigned char* table, const unsigned char* codes,
                                       uint32_t lane_bytes) {
    uint2 rows[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) rows[r] = *reinterpret_cast<const uint2*>(codes + r * 8 * row_bytes);
#pragma unroll
    for (int s = 0; s < 4; ++s)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const uint32_t word = s < 2 ? rows[r].x : rows[r].y;
            a[s][r] = wide_pair_at(table, lane_bytes, word, 2 * (s % 2));
            a[s][r + 2] = wide_pair_at(table, lane_bytes, word, 2 * (s % 2) + 1);
        }
}

// Sums of a tile, and the products of one unit on their way to them.
template <typename T, int N>
struct Sums {
    static constexpr int n = N / 8;
    float total[n][4] = {}, unit[n][4];
    float scale[2];  // of the unit's rows

    __device__ __forceinline__ void start(uint32_t (&a)[4][4], uint64_t x) {
        pin(a), pin(unit);
        begin_products();
#pragma unroll
        for (int s = 0; s < 4; ++s) multiply_codes<T>(unit, a[s], moved(x, s * 32), s > 0);
        commit_products();
    }
    __device__ __forceinline__ void add() {
        wait_products<0>();
        pin(unit);
#pragma unroll
        for (int j = 0; j < n; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) total[j][e] = fmaf(scale[e / 2], unit[j][e], total[j][e]);
    }
    __device__ __forceinline__ void write(float* to) {  // f32[N,kRows], from this warp's first row on
#pragma unroll
        for (int j = 0; j < n; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                to[fragment_col(j, e % 2) * kRows + fragment_row(e / 2)] = total[j][e];
                total[j][e] = 0;
            }
    }
};

template <typename T, typename S>
__device__ __forceinline__ void multiply_piece(const Work& work, Shared<S>& shared) {
    constexpr int kStages = S::kStages;
    const SeveralRows& call = work.call;
    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    const int64_t first = work.begin(blockIdx.x, gridDim.x);
    const int n_steps = static_cast<int>(work.begin(blockIdx.x + 1, gridDim.x) - first);
    unsigned char *codes = shared.codes[warp], *scales = shared.scales[warp];
    Cursor at(work, first);
    Source<S> source(work, at, warp, lane);
#pragma unroll 1
    for (int s = 0; s < kStages - 1; ++s) {
        if (s < n_steps) source.copy(work, codes + s * S::kCodeBytes, scales);
        commit_copies();
    }
    float offsets[3] = {0, 0, 0};
#pragma unroll
    for (int i = 0; i < 3; ++i)
        if (i < call.n_parts) offsets[i] = scale_offset(call.parts[i].w);
    const auto offset_of = [&](int tile) {
        const int part = work.part_of(tile);
        return part == 0 ? offsets[0] : part == 1 ? offsets[1] : offsets[2];
    };
    fill_wide_table<T>(shared.table, call.format, warp, lane);
    if (threadIdx.x < 256) shared.map[threadIdx.x] = kDeviceSignedMap.of[threadIdx.x];

    Cursor of_x = at;
    XPiece<S> x(call, at);
    wait_for_previous();
    x.load();
    x.store(shared.x[0]);
    __syncthreads();

    const int g = lane / 4, t = lane % 4;
    const auto lane_bytes = static_cast<uint32_t>(4 * lane);
    const int code_at = g * S::kRowBytes + (t / 2 * 16 ^ Source<S>::turn(g)) + t % 2 * 8;
    float offset = offset_of(at.tile);
    Scales<S> of_rows(g, t);
    Sums<T, S::N> sums;
    int stage = 0, last_stage = kStages - 1, x_stage = 0;
#pragma unroll 1
    for (int i = 0; i < n_steps; ++i) {
        if (of_x.advance(work)) x.find(call, of_x);
        if (i + 1 < n_steps) x.load();
        if (i + kStages - 1 < n_steps) source.copy(work, codes + last_stage * S::kCodeBytes, scales);
        commit_copies();
        wait_copies<kStages - 1>();
        __syncwarp();
        of_rows.next(work, scales, shared.map, at.step, i == 0, offset);
        const uint64_t columns = operand(shared.x[x_stage]);
        uint32_t a[2][4][4];
#pragma unroll
        for (int u = 0; u < S::kUnits; ++u) {
            decode<S::kRowBytes>(a[u % 2], shared.table, codes + stage * S::kCodeBytes + (code_at ^ u * 32),
                                 lane_bytes);
            if (u > 0) sums.add();
#pragma unroll
            for (int r = 0; r < 2; ++r) sums.scale[r] = of_rows.scale(r, u, lane);
            sums.start(a[u % 2], moved(columns, u * S::N * kPanelRowBytes));
        }
        last_stage = stage;
        stage = stage + 1 == kStages ? 0 : stage + 1;
        x_stage = x_stage + 1 == kXStages ? 0 : x_stage + 1;
        x.store(shared.x[x_stage]);
        sums.add();
        const int64_t place = blockIdx.x + int64_t{at.tile} * work.n_col_blocks + at.col_block;
        const bool ends = at.advance(work);
        if (ends || i + 1 == n_steps) {
            sums.write(work.partial + (place * S::N * kRows + warp * kWarpRows));
            offset = offset_of(at.tile);
        }
        __syncthreads();
    }
    wait_copies<0>();
}

template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 1) multiply_kernel(const __grid_constant__ Work work) {
    let_next_start();
    if constexpr (kSm90a) multiply_piece<T>(work, *reinterpret_cast<Shared<Sizes<N>>*>(dynamic_shared()));
}

// The pieces of a tile's sums: of an element of y, that of this thread's row of w.
struct Pieces {
    const float* from;
    int64_t stride;
    int n;

    __device__ Pieces(const Work& work, int n_blocks, int n_cols, int tile, int i) {
        const uint32_t v = tile * work.n_col_blocks + i / n_cols, first_step = v * work.n_steps;
        const uint32_t first = work.block_of(first_step, n_blocks),
                       last = work.block_of(first_step + work.n_steps - 1, n_blocks);
        stride = int64_t{n_cols} * kRows;
        from = work.partial + (first + v) * stride + (i % n_cols * kRows + threadIdx.x);
        n = static_cast<int>(last - first + 1);
    }
    __device__ __forceinline__ float sum() const {
        float total = 0;
        for (int first = 0; first < n; first += 8) {
            float of[8];
#pragma unroll
            for (int j = 0; j < 8; ++j) of[j] = first + j < n ? from[(first + j) * stride] : 0.f;
#pragma unroll
            for (int j = 0; j < 8; ++j) total += of[j];
        }
        return total;
    }
};

// Grid: (tiles of w, or of the first part in pairs; rows of y). A thread has a row of w.
template <typename T>
__global__ void __launch_bounds__(kRows) add_pieces(const __grid_constant__ Work work, int n_blocks, int n_cols) {
    let_next_start();
    const SeveralRows& call = work.call;
    int tile = static_cast<int>(blockIdx.x);
    const int i = static_cast<int>(blockIdx.y);
    const Pieces own(work, n_blocks, n_cols, tile, i);
    const Pieces other = call.gated ? Pieces(work, n_blocks, n_cols, tile + work.n_tiles[0], i) : own;
    const SeveralRowsPart& part = call.parts[work.part_of(tile)];
    const int j = tile * kRows + static_cast<int>(threadIdx.x);
    wait_for_previous();
    if (j >= part.n) return;
    float sum = own.sum();
    if (call.gated) {
        static_cast<T*>(part.y.data)[i * part.y.row_stride + j] = from_float<T>(sum / (1 + expf(-sum)) * other.sum());
        return;
    }
    if (call.add != nullptr) sum += to_float(static_cast<const T*>(call.add)[int64_t{i} * part.n + j]);
    finish(part.y, i, j, sum);
}

template <typename T, int N>
void run(const CudaContext& ctx, Work work) {
    using S = Sizes<N>;
    work.n_steps = static_cast<uint32_t>(work.call.k / S::kStep);
    work.some_rows_bytes = Source<S>::kRowsAtOnce * int64_t{work.call.k} / 2;
    work.total = int64_t{work.n_tiles[0] + work.n_tiles[1] + work.n_tiles[2]} * work.n_col_blocks * work.n_steps;
    const unsigned n_blocks = static_cast<unsigned>(std::min<int64_t>(ctx.device->n_sms, work.total));
    launch_dependent(ctx, multiply_kernel<T, N>, dim3(n_blocks), kThreads, sizeof(Shared<S>), work);
    const int n_tiles = work.n_tiles[0] + (work.call.gated ? 0 : work.n_tiles[1] + work.n_tiles[2]);
    launch_dependent(ctx, add_pieces<T>, dim3(static_cast<unsigned>(n_tiles), static_cast<unsigned>(work.call.m)),
                     kRows, 0, work, static_cast<int>(n_blocks), N);
}

template <typename T>
void run(const CudaContext& ctx, const Work& work) {
    switch (several_rows_cols(work.call.m)) {
        case 8: return run<T, 8>(ctx, work);
        case 16: return run<T, 16>(ctx, work);
        case 32: return run<T, 32>(ctx, work);
        default: return run<T, 64>(ctx, work);
    }
}

}  // namespace several_rows

bool several_rows_takes(const CudaContext& ctx, const Product& p) {
    const auto on_16 = [](const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; };
    return takes_several_rows(p.m, p.n, p.k, p.real, p.w.dtype, *ctx.device) && p.w.quant.block == kUnit &&
           p.w.k_stride == 1 && p.w.row_stride == p.k && on_16(p.w.quant.codes) && p.x.dtype == p.real &&
           p.x.k_stride == 1 && p.x.row_stride % 8 == 0 && on_16(p.x.data);
}

SeveralRows several_rows_call(const Product& p) {
    SeveralRows call{.x = p.x.data,
                     .x_stride = p.x.row_stride,
                     .format = p.w.dtype,
                     .real = p.real,
                     .m = static_cast<int>(p.m),
                     .k = static_cast<int>(p.k),
                     .parts = {}};
    call.parts[0] = {.w = p.w.quant, .y = p.y, .n = static_cast<int>(p.n)};
    return call;
}

void several_rows_4bit(const CudaContext& ctx, const SeveralRows& call, Scratch scratch) {
    several_rows::Work work{.call = call,
                            .partial = nullptr,
                            .n_tiles = {},
                            .n_col_blocks = static_cast<int>(ceil_div(call.m, several_rows_cols(call.m))),
                            .n_steps = 0,
                            .total = 0,
                            .some_rows_bytes = 0,
                            .nested = call.parts[0].w.scales == nullptr};
    int64_t n_tiles = 0;
    for (int i = 0; i < call.n_parts; ++i)
        n_tiles += work.n_tiles[i] = static_cast<int>(ceil_div(call.parts[i].n, kSeveralTile));
    work.partial = static_cast<float*>(scratch.take(several_rows_workspace(call.m, n_tiles, *ctx.device)));
    call.real == DType::f16 ? several_rows::run<f16>(ctx, work) : several_rows::run<bf16>(ctx, work);
}

}  // namespace ggq::cuda
