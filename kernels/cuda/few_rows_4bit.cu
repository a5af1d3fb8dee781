// y[m,n] = x[m,k] w[n,k]^T for at most 8 rows of f16 or bf16 and a 4-bit weight: generating text. The weight is
// streamed once; the tensor cores take 16 of its rows against 8 rows of x at a time, since decoding to floats and
// multiplying them one by one would need more instructions than there is time for at the memory's speed.
//
// A block takes 16 rows of w after 16 rows; its 8 warps share out k in groups of 256, with the next group's codes under
// way, and their sums are added in order. x stays in shared memory in the order in which fragments want it; where it
// does not fit, k is cut into parts over blockIdx.y, whose sums are added by another kernel. Floor: the bytes of
// w, 4.13 bits a weight with double quantization.
#include <algorithm>

#include "kernels/cuda/code_pairs.cuh"
#include "kernels/cuda/few_rows_4bit.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product_output.cuh"
#include "kernels/cuda/product_workspace.h"
#include "kernels/cuda/reduce.cuh"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kTileRows = 16, kTileCols = 8, kUnits = 4, kGroup = kUnits * kUnit;
constexpr int kSumsBytes = 2 * kWarps * kTileRows * kTileCols * 4;
constexpr int kMapBytes = 256 * 4;

struct Args {
    const void* x;
    int64_t x_stride, m, n, k, chunk;  // chunk: the k of a part, a multiple of kGroup
    QuantParts w;
    DType format;
    int shift;  // log2 of the weights a scale
    Output y;
    float* partial;  // f32[parts,m,n], or null if there is one part
};

// What a lane loads of a group: codes of rows g and g + 8 in each unit, and these rows' scales of unit t.
struct Group {
    uint2 codes[kUnits][2];
    RawScale scale[2];
};

// Where a warp is in its work: 16-row tiles of w, and in each its groups of k.
struct Place {
    int64_t tile;
    int round;
};

struct Warp {
    int lane, g, t, warp;
    int64_t k_begin, k_end;  // of this part
    int rounds;              // groups that each warp takes of a tile

    __device__ explicit Warp(const Args& p)
        : lane(static_cast<int>(threadIdx.x) % kWarp),
          g(lane / 4),
          t(lane % 4),
          warp(static_cast<int>(threadIdx.x) / kWarp),
          k_begin(blockIdx.y * p.chunk),
          k_end(k_begin + p.chunk < p.k ? k_begin + p.chunk : p.k),
          rounds(static_cast<int>(ceil_div(k_end - k_begin, kGroup * kWarps))) {}

    // The first k of this warp's group, which may lie beyond the part.
    __device__ int64_t first_k(int round) const { return k_begin + (round * kWarps + warp) * int64_t{kGroup}; }
    __device__ void advance(Place& at) const {
        if (++at.round == rounds) {
            at.round = 0;
            at.tile += gridDim.x;
        }
    }
};

__device__ __forceinline__ void load_group(const Args& p, const Warp& at, const Place& place, Group& group) {
    const int64_t first = at.first_k(place.round);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int64_t wanted = place.tile * kTileRows + fragment_row(r), row = wanted < p.n ? wanted : p.n - 1;
        const int64_t begin = row * p.k + first;
        const auto* codes = reinterpret_cast<const uint2*>(p.w.codes + begin / 2) + at.t;
#pragma unroll
        for (int u = 0; u < kUnits; ++u)
            group.codes[u][r] = first + u * kUnit < at.k_end ? load_streamed(codes + u * 4) : uint2{0, 0};
        const bool inside = first + at.t * kUnit < at.k_end;
        group.scale[r] = inside ? raw_scale(p.w, (begin + at.t * kUnit) >> p.shift) : RawScale{};
    }
}

// x[m, part] in the order of fragments: unit, half of a lane's 16 elements, row, t; pieces of 8 elements. Rows beyond m
// and k beyond the part are zero.
template <typename T, int MX>
__device__ __forceinline__ void stage_x(const Args& p, const Warp& at, uint4* to) {
    const auto* x = static_cast<const T*>(p.x);
    const int pieces = static_cast<int>(ceil_div(at.k_end - at.k_begin, kGroup)) * (kGroup / 8) * MX;
    for (int i = static_cast<int>(threadIdx.x); i < pieces; i += kThreads) {
        const int t = i % 4, row = i / 4 % MX, half = i / (4 * MX) % 2, unit = i / (8 * MX);
        const int64_t k = at.k_begin + unit * kUnit + 16 * t + 8 * half;
        const bool inside = row < p.m && k < at.k_end;
        to[i] = inside ? *reinterpret_cast<const uint4*>(x + row * p.x_stride + k) : uint4{0, 0, 0, 0};
    }
}

// Lanes of rows of x beyond MX compute a copy of another row, which nobody reads.
template <typename T, int MX>
__device__ __forceinline__ void multiply_group(const Args& p, const Warp& at, const Place& place, const Group& group,
                                               const uint32_t* table, const float* map, float offset, const uint4* x,
                                               float (&sums)[4]) {
    const int64_t first = at.first_k(place.round);
    if (first >= at.k_end) return;
    const float of_unit[2] = {restored(p.w, group.scale[0], map, offset), restored(p.w, group.scale[1], map, offset)};
    const auto lane_bytes = static_cast<uint32_t>(4 * at.lane);
    const int first_unit = static_cast<int>((first - at.k_begin) / kUnit);
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
        const float scale0 = __shfl_sync(0xffffffffu, of_unit[0], (at.lane & ~3) | u);
        const float scale1 = __shfl_sync(0xffffffffu, of_unit[1], (at.lane & ~3) | u);
        const uint4* piece = x + (first_unit + u) * (8 * MX) + at.g % MX * 4 + at.t;
        const uint4 of_x[2] = {piece[0], piece[4 * MX]};
        uint32_t a[4][4];
        unit_fragments(table, lane_bytes, group.codes[u], a);
        float c[4];
        multiply_unit<T>(c, a, of_x);
        sums[0] += scale0 * c[0];
        sums[1] += scale0 * c[1];
        sums[2] += scale1 * c[2];
        sums[3] += scale1 * c[3];
    }
}

// The sums of all warps for one tile, added in the order of the warps.
template <int MX>
__device__ __forceinline__ void finish_tile(const Args& p, const Warp& at, int64_t tile, const float (&sums)[4],
                                            float* of_warps) {
    float* mine = of_warps + at.warp * (kTileRows * kTileCols);
    *reinterpret_cast<float2*>(mine + fragment_row(0) * kTileCols + fragment_col(0, 0)) = {sums[0], sums[1]};
    *reinterpret_cast<float2*>(mine + fragment_row(1) * kTileCols + fragment_col(0, 0)) = {sums[2], sums[3]};
    __syncthreads();
    const int i = static_cast<int>(threadIdx.x) / kTileRows, row = static_cast<int>(threadIdx.x) % kTileRows;
    const int64_t j = tile * kTileRows + row;
    if (i >= MX || i >= p.m || j >= p.n) return;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += of_warps[w * (kTileRows * kTileCols) + row * kTileCols + i];
    if (p.partial != nullptr) p.partial[(blockIdx.y * p.m + i) * p.n + j] = sum;
    else finish(p.y, i, j, sum);
}

// Grid: (tiles, looped over; parts of k). MX is m rounded up to a power of two.
template <typename T, int MX>
__global__ void __launch_bounds__(kThreads, 2) few_rows_4bit_kernel(const __grid_constant__ Args p) {
    unsigned char* shared = dynamic_shared();
    auto* table = reinterpret_cast<uint32_t*>(shared);
    auto* map = reinterpret_cast<float*>(shared + kPairTableBytes);
    auto* of_warps = reinterpret_cast<float*>(shared + kPairTableBytes + kMapBytes);
    auto* x = reinterpret_cast<uint4*>(shared + kPairTableBytes + kMapBytes + kSumsBytes);

    const Warp at(p);
    const int64_t n_tiles = ceil_div(p.n, kTileRows);
    Place place{blockIdx.x, 0};
    Group now, next;
    load_group(p, at, place, now);
    const float offset = scale_offset(p.w);
    fill_pair_table<T>(table, p.format);
    for (int i = static_cast<int>(threadIdx.x); i < 256; i += kThreads) map[i] = kDeviceSignedMap.of[i];
    stage_x<T, MX>(p, at, x);
    __syncthreads();

    float sums[4] = {0, 0, 0, 0};
    int parity = 0;  // two buffers of sums: one tile's are written while the last one's are still read
    while (place.tile < n_tiles) {
        Place coming = place;
        at.advance(coming);
        if (coming.tile < n_tiles) load_group(p, at, coming, next);
        multiply_group<T, MX>(p, at, place, now, table, map, offset, x, sums);
        if (coming.round == 0) {
            finish_tile<MX>(p, at, place.tile, sums, of_warps + parity * (kWarps * kTileRows * kTileCols));
            parity ^= 1;
#pragma unroll
            for (float& sum : sums) sum = 0;
        }
        now = next;
        place = coming;
    }
}

template <typename T, int MX>
void run(const CudaContext& ctx, const Args& p, int64_t parts) {
    const int64_t x_bytes = round_up(std::min(p.chunk, p.k), kGroup) * MX * 2;
    const int64_t tiles = ceil_div(p.n, kTileRows), fill = 2 * int64_t{ctx.device->n_sms};
    // As many tiles for each block, to within one.
    const int64_t blocks = ceil_div(tiles, ceil_div(tiles, fill));
    launch(ctx, few_rows_4bit_kernel<T, MX>, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(parts)),
           kThreads, static_cast<size_t>(kPairTableBytes + kMapBytes + kSumsBytes + x_bytes), p);
}

template <typename T>
void run(const CudaContext& ctx, const Args& p, int64_t parts) {
    if (p.m == 1) run<T, 1>(ctx, p, parts);
    else if (p.m == 2) run<T, 2>(ctx, p, parts);
    else if (p.m <= 4) run<T, 4>(ctx, p, parts);
    else run<T, 8>(ctx, p, parts);
}

}  // namespace

void few_rows_4bit(const CudaContext& ctx, const Product& p, Scratch scratch) {
    const int64_t chunk = few_rows_chunk(p.m, p.k, *ctx.device), parts = ceil_div(p.k, chunk);
    const Args args{.x = p.x.data,
                    .x_stride = p.x.row_stride,
                    .m = p.m,
                    .n = p.n,
                    .k = p.k,
                    .chunk = chunk,
                    .w = p.w.quant,
                    .format = p.w.dtype,
                    .shift = block_shift(p.w.quant),
                    .y = p.y,
                    .partial = parts > 1 ? static_cast<float*>(scratch.take(parts * p.m * p.n * 4)) : nullptr};
    p.real == DType::f16 ? run<f16>(ctx, args, parts) : run<bf16>(ctx, args, parts);
    if (parts > 1) sum_partials(ctx, args.partial, static_cast<int>(parts), p.m, p.n, p.y);
}

}  // namespace ggq::cuda
