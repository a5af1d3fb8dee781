// One row of x against 4-bit weights: generating text. The floor is the bytes of w, and there are so few instructions a
// weight at the memory's speed that it goes through the tensor cores, two weights a table read (code_pairs.cuh).
//
// With one row of x the columns of a product's right factor are free. So the left factor's rows 0..7 are eight
// neighbouring segments of 64 weights of one row of w and rows 8..15 those of another row, and the right factor's
// column j is what meets segment j: the diagonal of the result has a sum for each block of w, before its scale. Thus
//   * a warp reads 256 bytes of a row side by side, as memory likes it best,
//   * x stays in registers, 2048 of it in a warp, and is never read again,
//   * columns are turned by two for each of the four groups of segments, so that every lane has one of their diagonals
//     and needs one scale a row, its own.
// A warp takes a pair of rows after the other in its slice of 2048 k, with the next pairs' codes under way; a block's
// warps have all slices of several pairs. The sums of slices meet in shared memory at the end.
//
// The codes of the first pairs and the table are there before the kernel waits for the one in front of it.
#include "kernels/cuda/one_row_4bit.h"

#include <algorithm>

#include "kernels/cuda/code_pairs.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product_output.cuh"
#include "kernels/cuda/product_workspace.h"

namespace ggq::cuda {

namespace one_row {

constexpr int kGroups = 4, kSegments = 8, kSlice = kGroups * kSegments * kUnit;  // 2048 k
constexpr int kTableBytes = 256 * 64 * 4;  // entries begin at multiples of 256 bytes, so that a byte is an offset

// The pair of weights of byte `byte` (a constant) of a word of codes.
__device__ __forceinline__ uint32_t wide_pair_at(const char* table, uint32_t lane_bytes, uint32_t word, int byte) {
    const uint32_t at = __byte_perm(word, lane_bytes, 0x5504u | static_cast<uint32_t>(byte) << 4);
    return *reinterpret_cast<const uint32_t*>(table + at);
}

// The lanes of each of the block's warps write theirs of 256 / W entries, which have one or several first levels.
template <typename T, int W>
__device__ __forceinline__ void fill_wide_table(char* table, DType format, int warp, int lane) {
    constexpr int kEach = 256 / W;
    const float mine = level(format, lane % 16);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
        const int entry = warp * kEach + i;
        const float first = __shfl_sync(0xffffffffu, mine, entry / 16), second = __shfl_sync(0xffffffffu, mine, i % 16);
        *reinterpret_cast<uint32_t*>(table + entry * 256 + lane * 4) = pack_pair<T>(first, second);
    }
}

struct Place {
    int lane, g, t, warp, slice, pair_lane, n_slices, n_pair_lanes, first_pair, last_pair;
    int64_t k;  // of the first weight of this lane's group 0

    __device__ Place(const OneRow& p, int n_pairs, int warps)
        : lane(static_cast<int>(threadIdx.x) % kWarp),
          g(lane / 4),
          t(lane % 4),
          warp(static_cast<int>(threadIdx.x) / kWarp),
          n_slices(ceil_div(p.k, kSlice)),
          n_pair_lanes(warps / n_slices),
          first_pair(static_cast<int>(int64_t{blockIdx.x} * n_pairs / gridDim.x)),
          last_pair(static_cast<int>(int64_t{blockIdx.x + 1} * n_pairs / gridDim.x)) {
        slice = warp % n_slices;
        pair_lane = warp / n_slices;
        k = slice * kSlice + g * kUnit + t * 16;
    }
    __device__ bool works() const { return pair_lane < n_pair_lanes; }
    __device__ int own_group() const { return (g / 2 - t) & 3; }
};

struct Item {
    uint2 codes[2][kGroups];
    RawScale scale[2];
};

// The matrix of a pair and the pair's number in it.
__device__ __forceinline__ int part_of(const OneRow& p, int& pair) {
    if (p.gated || p.n_parts == 1 || pair < p.parts[0].n_pairs) return 0;
    pair -= p.parts[0].n_pairs;
    if (pair < p.parts[1].n_pairs) return 1;
    pair -= p.parts[1].n_pairs;
    return 2;
}

__device__ __forceinline__ void load_row(const OneRow& p, const QuantParts& w, int64_t row, const Place& at, int shift,
                                         uint2 (&codes)[kGroups], RawScale& scale) {
    const int64_t begin = row * p.k + at.k;
    const auto* from = reinterpret_cast<const uint2*>(w.codes + begin / 2);
#pragma unroll
    for (int q = 0; q < kGroups; ++q) codes[q] = at.k + q * 512 < p.k ? load_streamed(from + q * 32) : uint2{0, 0};
    const int64_t own = at.slice * kSlice + at.own_group() * 512 + at.g * kUnit;
    if (own < p.k) scale = raw_scale(w, (row * p.k + own) >> shift);
}

__device__ __forceinline__ void load_item(const OneRow& p, const Place& at, int pair, int shift, Item& item) {
    const int part = part_of(p, pair);
    if (p.gated) {
        load_row(p, p.parts[0].w, pair, at, shift, item.codes[0], item.scale[0]);
        load_row(p, p.parts[1].w, pair, at, shift, item.codes[1], item.scale[1]);
    } else {
        load_row(p, p.parts[part].w, 2 * pair, at, shift, item.codes[0], item.scale[0]);
        load_row(p, p.parts[part].w, 2 * pair + 1, at, shift, item.codes[1], item.scale[1]);
    }
}

// This lane's x, of column g: 16 elements of segment (g + 2 q) % 8 of each group q.
template <typename T>
struct Column {
    uint4 of[kGroups][2];

    __device__ static int64_t first_k(const Place& at, int q) {
        return at.slice * kSlice + q * 512 + (at.g + 2 * q) % kSegments * kUnit + at.t * 16;
    }
    __device__ void load(const OneRow& p, const void* from, const Place& at) {
#pragma unroll
        for (int q = 0; q < kGroups; ++q) {
            const bool inside = first_k(at, q) < p.k;
            const auto* x = reinterpret_cast<const uint4*>(static_cast<const T*>(from) + first_k(at, q));
            of[q][0] = inside ? x[0] : uint4{0, 0, 0, 0};
            of[q][1] = inside ? x[1] : uint4{0, 0, 0, 0};
        }
    }
};

template <typename T>
__device__ __forceinline__ void unpack(const uint4& pack, float (&to)[8]) {
    const auto values = *reinterpret_cast<const Pack<T, 8>*>(&pack);
#pragma unroll
    for (int i = 0; i < 8; ++i) to[i] = to_float(values.of[i]);
}

// x times the norm's weight, rounded; returns the sum of the squares of x that this lane has.
template <typename T>
__device__ __forceinline__ float apply_norm(const OneRow& p, const Place& at, Column<T>& x) {
    float sum = 0;
#pragma unroll
    for (int q = 0; q < kGroups; ++q)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int64_t k = Column<T>::first_k(at, q) + 8 * half;
            if (k >= p.k) continue;
            float v[8], w[8];
            unpack<T>(x.of[q][half], v);
            eight_at(p.norm, p.norm_dtype, k, w);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                sum += v[i] * v[i];
                v[i] *= w[i];
            }
            store<8>(reinterpret_cast<T*>(&x.of[q][half]), v);
        }
    return sum;
}

// The two rows' sums over the slice, in lanes 0 and 16 of the warp.
template <typename T>
__device__ __forceinline__ float multiply_item(const OneRow& p, const Place& at, const Item& item, const char* table,
                                               const float* map, const float (&offset)[2], const Column<T>& x) {
    const auto lane_bytes = static_cast<uint32_t>(4 * at.lane);
    float own[2] = {0, 0};
#pragma unroll
    for (int q = 0; q < kGroups; ++q) {
        float c[4] = {0, 0, 0, 0};
        const uint32_t b[8] = {x.of[q][0].x, x.of[q][0].y, x.of[q][0].z, x.of[q][0].w,
                               x.of[q][1].x, x.of[q][1].y, x.of[q][1].z, x.of[q][1].w};
#pragma unroll
        for (int step = 0; step < 4; ++step) {
            uint32_t a[4];
#pragma unroll
            for (int row = 0; row < 2; ++row) {
                const uint32_t word = step < 2 ? item.codes[row][q].x : item.codes[row][q].y;
                a[row] = wide_pair_at(table, lane_bytes, word, 2 * (step % 2));
                a[row + 2] = wide_pair_at(table, lane_bytes, word, 2 * (step % 2) + 1);
            }
            multiply_add<T>(c, a, b[2 * step], b[2 * step + 1]);
        }
        if (q == at.own_group()) {
            own[0] = at.g % 2 ? c[1] : c[0];
            own[1] = at.g % 2 ? c[3] : c[2];
        }
    }
    const QuantParts& w = p.parts[0].w;
#pragma unroll
    for (int row = 0; row < 2; ++row) own[row] *= restored(w, item.scale[row], map, offset[row]);
    const bool upper = at.lane >= 16;
    float sum = upper ? own[1] : own[0];
    sum += __shfl_xor_sync(0xffffffffu, upper ? own[0] : own[1], 16);
#pragma unroll
    for (int distance = 8; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    return sum;
}

__device__ __forceinline__ void write_row(const OneRow& p, const OneRowPart& part, int row, float sum) {
    if (p.add != nullptr) sum += value_at(p.add, p.real, row);
    finish(part.y, 0, row, sum);
}

// Shared memory: the table, kSignedMap, sums of squares of the warps, then sums[pairs][slices][2].
constexpr int kMapAt = kTableBytes, kSquaresAt = kMapAt + 256 * 4, kSumsAt = kSquaresAt + 128;

template <typename T, int W, int D>
__global__ void __launch_bounds__(W* kWarp, W == 16 ? 1 : 2)
    one_row_kernel(const __grid_constant__ OneRow p, int n_pairs, int shift) {
    let_next_start();
    unsigned char* shared = dynamic_shared();
    auto* table = reinterpret_cast<char*>(shared);
    auto* map = reinterpret_cast<float*>(shared + kMapAt);
    auto* squares = reinterpret_cast<float*>(shared + kSquaresAt);
    auto* sums = reinterpret_cast<float*>(shared + kSumsAt);
    const Place at(p, n_pairs, W);
    const int first = at.works() ? at.first_pair + at.pair_lane : at.last_pair, stride = at.n_pair_lanes;
    Item ring[D];
#pragma unroll
    for (int i = 0; i < D; ++i)
        if (first + i * stride < at.last_pair) load_item(p, at, first + i * stride, shift, ring[i]);
    float offsets[3] = {0, 0, 0};
#pragma unroll
    for (int i = 0; i < 3; ++i)
        if (i < p.n_parts) offsets[i] = scale_offset(p.parts[i].w);
    fill_wide_table<T, W>(table, p.format, at.warp, at.lane);
    for (int i = static_cast<int>(threadIdx.x); i < 256; i += W * kWarp) map[i] = kDeviceSignedMap.of[i];
    wait_for_previous();

    Column<T> x;
    x.load(p, p.x, at);
    if (p.norm != nullptr) {
        const float sum = warp_reduce<Sum>(apply_norm<T>(p, at, x));
        if (at.lane == 0 && at.pair_lane == 0) squares[at.slice] = sum;
    }
    __syncthreads();
#pragma unroll 1
    for (int pair = first; pair < at.last_pair; pair += D * stride) {
#pragma unroll
        for (int i = 0; i < D; ++i) {
            const int now = pair + i * stride;
            if (now < at.last_pair) {
                int in_part = now;
                const int part = part_of(p, in_part);
                const float of_part = part == 0 ? offsets[0] : part == 1 ? offsets[1] : offsets[2];
                const float offset[2] = {of_part, p.gated ? offsets[1] : of_part};
                const float sum = multiply_item<T>(p, at, ring[i], table, map, offset, x);
                if (at.lane % 16 == 0) sums[((now - at.first_pair) * at.n_slices + at.slice) * 2 + at.lane / 16] = sum;
                if (now + D * stride < at.last_pair) load_item(p, at, now + D * stride, shift, ring[i]);
            }
        }
    }
    __syncthreads();
    float rstd = 1;
    if (p.norm != nullptr) {
        float sum = 0;
        for (int i = 0; i < at.n_slices; ++i) sum += squares[i];
        rstd = 1 / sqrtf(sum / static_cast<float>(p.k) + p.eps);
    }
    for (int i = static_cast<int>(threadIdx.x); i < at.last_pair - at.first_pair; i += W * kWarp) {
        float2 sum{0, 0};
        for (int slice = 0; slice < at.n_slices; ++slice) {
            const float2 of_slice = *reinterpret_cast<const float2*>(sums + (i * at.n_slices + slice) * 2);
            sum.x += of_slice.x;
            sum.y += of_slice.y;
        }
        sum.x *= rstd;
        sum.y *= rstd;
        int pair = at.first_pair + i;
        const OneRowPart& part = p.parts[part_of(p, pair)];
        if (p.gated) {
            finish(part.y, 0, pair, sum.x / (1 + expf(-sum.x)) * sum.y);
        } else {
            write_row(p, part, 2 * pair, sum.x);
            write_row(p, part, 2 * pair + 1, sum.y);
        }
    }
}

}  // namespace one_row

namespace {

constexpr int kWarps = 16, kDepth = 2;

// Blocks so that each has as many rounds of pairs, one block a multiprocessor if the sums of all its pairs fit.
struct Cut {
    int n_slices, n_blocks;
    int64_t shared;

    Cut(int n_pairs, int k, const Device& device) : n_slices(ceil_div(k, one_row::kSlice)) {
        const int lanes = kWarps / n_slices;
        const int most = static_cast<int>((device.shared_bytes - one_row::kSumsAt) / (8 * n_slices)) / lanes;
        const int rounds = std::clamp(ceil_div(n_pairs, device.n_sms * lanes), 1, most);
        n_blocks = ceil_div(n_pairs, rounds * lanes);
        shared = one_row::kSumsAt + int64_t{8} * n_slices * ceil_div(n_pairs, n_blocks);
    }
};

int pairs_of(const OneRow& p) {
    int n = p.parts[0].n_pairs;
    for (int i = 1; i < p.n_parts && !p.gated; ++i) n += p.parts[i].n_pairs;
    return n;
}

}  // namespace

bool one_row_takes(int64_t n, int64_t k, DType real, DType w, const Device& device) {
    constexpr int64_t kLeastShared = one_row::kSumsAt + 8 * kWarps * 16;
    return few_rows_in_tensor_cores(k, real, w) && n % 2 == 0 && n <= INT_MAX / 2 && k <= kWarps * one_row::kSlice &&
           device.shared_bytes >= kLeastShared;
}

void one_row_4bit(const CudaContext& ctx, const OneRow& p) {
    const int n_pairs = pairs_of(p);
    const Cut cut(n_pairs, p.k, *ctx.device);
    const int shift = block_shift(p.parts[0].w);
    const auto run = [&](auto tag) {
        launch_dependent(ctx, one_row::one_row_kernel<decltype(tag), kWarps, kDepth>,
                         dim3(static_cast<unsigned>(cut.n_blocks)), kWarps * kWarp, static_cast<size_t>(cut.shared), p,
                         n_pairs, shift);
    };
    p.real == DType::f16 ? run(f16{}) : run(bf16{});
}

}  // namespace ggq::cuda
