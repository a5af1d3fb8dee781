// Several rows of x against 4-bit weights on Hopper: the weights are the left factor of products of warp groups,
// decoded in registers two a table read (code_pairs.cuh), and x, 8 to 64 rows of it at a time, the right one, read by
// the tensor cores from shared memory. Floor: the bytes of w; then the cycles of shared memory, of 64 x 64 weights 64
// for the table, about 40 for codes and scales, and as many as x has columns.
//
// A block's groups have 64 rows of w each, and go along k in steps of 256 (128 where x has 64 columns). Codes and
// scales are some steps ahead of their use in shared memory, each warp's own; a further group of warps brings x, put in
// the order in which lanes have codes. A block of 64 weights has one scale, so a group's sums over 64 k are scaled and
// added. Blocks have equally long pieces of all steps of all tiles (Osama et al., Stream-K, 2023), whose sums another
// kernel adds, in order.
//
// The first codes and the table are there before the kernel waits for the one in front of it.
#include <algorithm>

#include "kernels/cuda/code_products.cuh"
#include "kernels/cuda/several_rows_4bit.cuh"
#include "kernels/cuda/several_rows_sums.cuh"

namespace ggq::cuda {

namespace several_rows {

using namespace hopper;

// The pair of weights of byte `byte` (a constant) of a word of codes.
__device__ __forceinline__ uint32_t wide_pair_at(const unsigned char* table, uint32_t lane_bytes, uint32_t word,
                                                 int byte) {
    const uint32_t at = __byte_perm(word, lane_bytes, 0x5504u | static_cast<uint32_t>(byte) << 4);
    return *reinterpret_cast<const uint32_t*>(table + at);
}

// The lanes of each warp write theirs of every n_warps-th entry.
template <typename T>
__device__ __forceinline__ void fill_wide_table(unsigned char* table, DType format, int warp, int n_warps, int lane) {
    const float mine = level(format, lane % 16);
#pragma unroll 4
    for (int i = warp; i < 256; i += n_warps) {
        const float first = __shfl_sync(0xffffffffu, mine, i / 16), second = __shfl_sync(0xffffffffu, mine, i % 16);
        *reinterpret_cast<uint32_t*>(table + i * 256 + lane * 4) = pack_pair<T>(first, second);
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
template <typename T, typename S>
struct Sums {
    static constexpr int n = S::N / 8;
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
    __device__ __forceinline__ void write(float* to) {  // f32[N,rows], from this warp's first row on
#pragma unroll
        for (int j = 0; j < n; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                to[fragment_col(j, e % 2) * S::kRows + fragment_row(e / 2)] = total[j][e];
                total[j][e] = 0;
            }
    }
};

// The group that brings x.
template <typename S>
__device__ __forceinline__ void bring_x(const Work& work, Shared<S>& shared, int64_t first, int n_steps) {
    XShare<S> x(work, Cursor(work, first));
    wait_for_previous();
    x.load(work);
    int stage = 0, parity = 1;
#pragma unroll 1
    for (int i = 0; i < n_steps; ++i) {
        wait(&shared.empty[stage], parity);
        x.store(shared.x[stage]);
        arrive(&shared.full[stage]);
        if (i + 1 < n_steps) x.load(work);
        if (++stage == kXStages) stage = 0, parity ^= 1;
    }
}

// A group that computes. `source` has brought the first kStages - 1 steps on their way.
template <typename T, typename S>
__device__ __forceinline__ void compute(const Work& work, Shared<S>& shared, Source<S>& source, int64_t first,
                                        int n_steps) {
    constexpr int kStages = S::kStages;
    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    const int g = lane / 4, t = lane % 4;
    unsigned char *codes = shared.codes[warp], *scales = shared.scales[warp];
    float offsets[3] = {0, 0, 0};
#pragma unroll
    for (int i = 0; i < 3; ++i)
        if (i < work.call.n_parts) offsets[i] = scale_offset(work.call.parts[i].w);
    const auto offset_of = [&](int tile) {
        const int part = work.part_of(tile);
        return part == 0 ? offsets[0] : part == 1 ? offsets[1] : offsets[2];
    };
    const auto lane_bytes = static_cast<uint32_t>(4 * lane);
    const int code_at = g * S::kRowBytes + (t / 2 * 16 ^ Source<S>::turn(g)) + t % 2 * 8;
    Cursor at(work, first);
    float offset = offset_of(at.tile);
    Scales<S> of_rows(g, t);
    Sums<T, S> sums;
    int stage = 0, last_stage = kStages - 1, x_stage = 0, parity = 0;
    wait_for_previous();  // it may read what is written here
#pragma unroll 1
    for (int i = 0; i < n_steps; ++i) {
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
            else wait(&shared.full[x_stage], parity);
#pragma unroll
            for (int r = 0; r < 2; ++r) sums.scale[r] = of_rows.scale(r, u, lane);
            sums.start(a[u % 2], moved(columns, u * S::N * kPanelRowBytes));
        }
        last_stage = stage;
        stage = stage + 1 == kStages ? 0 : stage + 1;
        sums.add();
        if (lane == 0) arrive(&shared.empty[x_stage]);
        if (++x_stage == kXStages) x_stage = 0, parity ^= 1;
        const int64_t place = blockIdx.x + int64_t{at.tile} * work.n_col_blocks + at.col_block;
        const bool ends = at.advance(work);
        if (ends || i + 1 == n_steps) {
            sums.write(work.partial + (place * S::N * S::kRows + warp * kWarpRows));
            offset = offset_of(at.tile);
        }
        __syncwarp();  // nobody reads the codes any more
    }
    wait_copies<0>();
}

template <typename T, typename S>
__device__ __forceinline__ void multiply_piece(const Work& work, Shared<S>& shared) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    const int64_t first = work.begin(blockIdx.x, gridDim.x);
    const int n_steps = static_cast<int>(work.begin(blockIdx.x + 1, gridDim.x) - first);
    if (threadIdx.x == 0) {
#pragma unroll
        for (int i = 0; i < kXStages; ++i)
            init_barrier(&shared.full[i], kWarpGroup), init_barrier(&shared.empty[i], S::kWarps);
        publish_barriers();
    }
    if (warp >= S::kWarps) {
        __syncthreads();
        leave_registers<S::kXRegisters>();
        bring_x(work, shared, first, n_steps);
    } else {
        Source<S> source(work, Cursor(work, first), warp, lane);
#pragma unroll 1
        for (int s = 0; s < S::kStages - 1; ++s) {
            if (s < n_steps) source.copy(work, shared.codes[warp] + s * S::kCodeBytes, shared.scales[warp]);
            commit_copies();
        }
        fill_wide_table<T>(shared.table, work.call.format, warp, S::kWarps, lane);
        for (int i = static_cast<int>(threadIdx.x); i < 256; i += S::kWarps * kWarp)
            shared.map[i] = kDeviceSignedMap.of[i];
        __syncthreads();
        take_registers<S::kRegisters>();
        compute<T>(work, shared, source, first, n_steps);
    }
}

template <typename T, typename S>
__global__ void __launch_bounds__(S::kThreads, 1) multiply_kernel(const __grid_constant__ Work work) {
    let_next_start();
    if constexpr (kSm90a) multiply_piece<T>(work, *reinterpret_cast<Shared<S>*>(dynamic_shared()));
}

// Nothing but a rounding, four at a time.
bool is_plain(const Output& y, DType real) {
    return y.dtype == real && y.col_stride == 1 && y.row_stride % 4 == 0 && y.alpha == 1 && y.beta == 0 &&
           y.low_rank.rank == 0 && reinterpret_cast<uintptr_t>(y.data) % 8 == 0;
}

template <typename T, int N>
void run(const CudaContext& ctx, const SeveralRows& call, Scratch scratch) {
    using S = Sizes<N>;
    static_assert(sizeof(Shared<S>) <= kSeveralShared);
    GGQ_ASSERT(several_rows_tile(call.m) == S::kRows);
    Work work{.call = call,
              .partial = nullptr,
              .n_tiles = {},
              .n_col_blocks = ceil_div(call.m, N),
              .n_steps = static_cast<uint32_t>(call.k / S::kStep),
              .total = 0,
              .some_rows_bytes = Source<S>::kRowsAtOnce * int64_t{call.k} / 2,
              .nested = call.parts[0].w.scales == nullptr,
              .plain_output = true};
    int n_tiles = 0;
    for (int i = 0; i < call.n_parts; ++i) {
        n_tiles += work.n_tiles[i] = ceil_div(call.parts[i].n, S::kRows);
        work.plain_output = work.plain_output && is_plain(call.parts[i].y, call.real);
    }
    work.total = int64_t{n_tiles} * work.n_col_blocks * work.n_steps;
    work.partial = static_cast<float*>(scratch.take(several_rows_workspace(call.m, n_tiles, *ctx.device)));
    const int n_blocks = static_cast<int>(std::min<int64_t>(ctx.device->n_sms, work.total));
    launch_dependent(ctx, multiply_kernel<T, S>, dim3(static_cast<unsigned>(n_blocks)), S::kThreads, sizeof(Shared<S>),
                     work);
    const dim3 grid(static_cast<unsigned>(call.gated ? work.n_tiles[0] : n_tiles),
                    static_cast<unsigned>(ceil_div(call.m, 4)));
    launch_dependent(ctx, add_pieces<T, S>, grid, S::kRows, 0, work, n_blocks);
}

template <typename T>
void run(const CudaContext& ctx, const SeveralRows& call, Scratch scratch) {
    switch (several_rows_cols(call.m)) {
        case 8: return run<T, 8>(ctx, call, scratch);
        case 16: return run<T, 16>(ctx, call, scratch);
        case 32: return run<T, 32>(ctx, call, scratch);
        default: return run<T, 64>(ctx, call, scratch);
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
    call.real == DType::f16 ? several_rows::run<f16>(ctx, call, scratch) : several_rows::run<bf16>(ctx, call, scratch);
}

}  // namespace ggq::cuda
