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
#include "kernels/cuda/one_row_output.cuh"
#include "kernels/cuda/product_workspace.h"

namespace ggq::cuda {

namespace one_row {

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

// The block's threads bring x, times the norm's weight if there is one, to shared memory, zeros behind it; returns the
// sum of the squares of what a thread has had.
template <typename T, int n_threads>
__device__ __forceinline__ float stage_x(const OneRow& p, int n_slices, uint4* to) {
    float sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < n_slices * (kSlice / 8); i += n_threads) {
        const bool inside = i < p.k / 8;
        uint4 pack = inside ? static_cast<const uint4*>(p.x)[i] : uint4{0, 0, 0, 0};
        if (inside && p.norm != nullptr) {
            float v[8], weight[8];
            eight_at(p.norm, p.norm_dtype, int64_t{i} * 8, weight);
            unpack<T>(pack, v);
#pragma unroll
            for (int e = 0; e < 8; ++e) {
                sum += v[e] * v[e];
                v[e] *= weight[e];
            }
            store<8>(reinterpret_cast<T*>(&pack), v);
        }
        to[place_of_piece(i / 8, i % 8)] = pack;
    }
    return sum;
}

// This lane's x, of column g: 16 elements of segment (g + 2 q) % 8 of each group q.
struct Column {
    uint4 of[kGroups][2];

    __device__ __forceinline__ Column(const Place& at, const uint4* x) {
#pragma unroll
        for (int q = 0; q < kGroups; ++q)
#pragma unroll
            for (int half = 0; half < 2; ++half)
                of[q][half] = x[place_of_piece((at.slice * kGroups + q) * kSegments + (at.g + 2 * q) % kSegments,
                                               2 * at.t + half)];
    }
};

// The sums of a lane's own blocks of both rows, without their scales. `next` is called as soon as a group's codes are
// used.
template <typename T, typename Next>
__device__ __forceinline__ void multiply_item(const Place& at, const Item& item, const char* table, const Column& x,
                                              float (&own)[2], const Next& next) {
    const auto lane_bytes = static_cast<uint32_t>(4 * at.lane);
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
        next(q);
        if (q == at.own_group()) {
            own[0] = at.g % 2 ? c[1] : c[0];
            own[1] = at.g % 2 ? c[3] : c[2];
        }
    }
}

__device__ __forceinline__ float scale_of(const RawScale& raw, const float* map, float offset) {
    return __fadd_rn(__fmul_rn(map[raw.code], raw.nested), offset);
}

// The sum of own[0] over the warp in lanes 0 to 15, of own[1] in the others.
__device__ __forceinline__ float sum_over_lanes(const Place& at, const float (&own)[2]) {
    const bool upper = at.lane >= 16;
    float sum = upper ? own[1] : own[0];
    sum += __shfl_xor_sync(0xffffffffu, upper ? own[0] : own[1], 16);
#pragma unroll
    for (int distance = 8; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    return sum;
}

template <typename T, int W, int min_blocks, Pairs pairs, bool adapted>
__global__ void __launch_bounds__(W* kWarp, min_blocks)
    one_row_kernel(const __grid_constant__ OneRow p, int n_pairs, int shift) {
    let_next_start();
    unsigned char* shared = dynamic_shared();
    auto* table = reinterpret_cast<char*>(shared);
    auto* map = reinterpret_cast<float*>(shared + kMapAt);
    auto& facts = *reinterpret_cast<Facts*>(shared + kFactsAt);
    const Place at(p, n_pairs, W);
    const Layout layout(adapted, adapted ? p.adapter_bytes : 0, at.last_pair - at.first_pair, at.n_slices);
    auto* staged = reinterpret_cast<uint4*>(shared + layout.x);
    auto* sums = reinterpret_cast<float*>(shared + layout.sums);
    const Loader loader(p, at, shift);
    const int first = at.first_pair_of_warp();
    Item item;
    const Loader::Source source = loader.find<pairs>(p, first, first < at.last_pair);
#pragma unroll
    for (int q = 0; q < kGroups; ++q) loader.load_codes(source, q, item);
    loader.load_scales(source, item);
    float offsets[3] = {0, 0, 0};
#pragma unroll
    for (int i = 0; i < 3; ++i)
        if (i < p.n_parts) offsets[i] = scale_offset(p.parts[i].w);
    fill_wide_table<T, W>(table, p.format, static_cast<int>(threadIdx.x) / kWarp, at.lane);
    for (int i = static_cast<int>(threadIdx.x); i < 256; i += W * kWarp)
        map[i] = loader.nested ? kDeviceSignedMap.of[i] : 1.0f;
    if constexpr (adapted) ask_ahead<W * kWarp>(p);
    wait_for_previous();
    if constexpr (adapted) {
        if (threadIdx.x == 0) facts.launch = number_of_launch(p.messages);
        copy_rows_of_b<W * kWarp, pairs>(p, at, layout, shared);
    }
    const float square = warp_reduce<Sum>(stage_x<T, W * kWarp>(p, at.n_slices, staged));
    if (at.lane == 0) facts.squares[threadIdx.x / kWarp] = square;
    __syncthreads();
    if constexpr (adapted) tell_rows<T, W>(p, staged, facts);
    const Column x(at, staged);
    float* to = sums + ((first - at.first_pair) * at.n_slices + at.slice) * 2 + at.lane / 16;
#pragma unroll 1
    for (int pair = first; pair < at.last_pair; pair += at.n_pair_lanes) {
        int in_part = pair;
        const int part = part_of<pairs>(p, in_part);
        const float of_part = part == 0 ? offsets[0] : part == 1 ? offsets[1] : offsets[2];
        const float offset[2] = {of_part, pairs == Pairs::of_two ? offsets[1] : of_part};
        const float scale[2] = {scale_of(item.scale[0], map, offset[0]), scale_of(item.scale[1], map, offset[1])};
        const int following = pair + at.n_pair_lanes;
        const Loader::Source next = loader.find<pairs>(p, following, following < at.last_pair);
        loader.load_scales(next, item);
        float own[2] = {0, 0};
        multiply_item<T>(at, item, table, x, own, [&](int q) { loader.load_codes(next, q, item); });
        own[0] *= scale[0];
        own[1] *= scale[1];
        const float sum = sum_over_lanes(at, own);
        if (at.lane % 16 == 0) *to = sum;
        to += 2 * at.n_pair_lanes * at.n_slices;
    }
    if constexpr (adapted) {
        wait_all_copies();
        if (threadIdx.x < kWarp) hear_rows(p, facts);
    }
    __syncthreads();
    write_pairs<T, W, pairs, adapted>(p, at, layout, facts, shared);
}

constexpr int kWarps = 8, kMostWarps = 16;  // of a block; the more where there are so many slices

template <typename T, int W, bool adapted>
auto kernel_of(const OneRow& p) {
    constexpr int kBlocks = kMostWarps / W;  // on a multiprocessor
    if (p.gated) return one_row_kernel<T, W, kBlocks, Pairs::of_two, adapted>;
    return p.n_parts > 1 ? one_row_kernel<T, W, kBlocks, Pairs::of_several, adapted>
                         : one_row_kernel<T, W, kBlocks, Pairs::of_one, adapted>;
}

template <typename T, bool adapted>
auto kernel_of(const OneRow& p, int n_warps) {
    return n_warps == kWarps ? kernel_of<T, kWarps, adapted>(p) : kernel_of<T, kMostWarps, adapted>(p);
}

template <typename T>
auto kernel_of(const OneRow& p, int n_warps) {
    return p.n_ranks > 0 ? kernel_of<T, true>(p, n_warps) : kernel_of<T, false>(p, n_warps);
}

}  // namespace one_row

namespace {

// Blocks so that each has as many rounds of pairs and all run at once, if the sums of a block's pairs fit.
struct Cut {
    int n_slices, n_warps, n_blocks;
    int64_t shared;

    Cut(const OneRow& p, int n_pairs, const Device& device)
        : n_slices(ceil_div(p.k, one_row::kSlice)),
          n_warps(n_slices <= one_row::kWarps ? one_row::kWarps : one_row::kMostWarps) {
        const int n_at_once = one_row::kMostWarps / n_warps, at_once = device.n_sms * n_at_once;
        const int lanes = n_warps / n_slices;
        const bool adapted = p.n_ranks > 0;
        const int64_t before = one_row::Layout(adapted, 0, 0, n_slices).bytes + 16;  // and what aligns
        const int64_t room = device.shared_bytes / n_at_once - 1024 - before;
        const int64_t a_pair = 8 * n_slices + p.adapter_bytes;
        const int most = std::max(static_cast<int>(room / a_pair) / lanes, 1);
        const int rounds = std::clamp(ceil_div(n_pairs, at_once * lanes), 1, most);
        n_blocks = ceil_div(n_pairs, rounds * lanes);
        shared = one_row::Layout(adapted, p.adapter_bytes, ceil_div(n_pairs, n_blocks), n_slices).bytes;
    }
};

int pairs_of(const OneRow& p) {
    int n = p.parts[0].n_pairs;
    for (int i = 1; i < p.n_parts && !p.gated; ++i) n += p.parts[i].n_pairs;
    return n;
}

}  // namespace

bool one_row_takes(int64_t n, int64_t k, DType real, DType w, const Device& device) {
    const int64_t least =
        one_row::kXAt + ceil_div(k, int64_t{one_row::kSlice}) * (one_row::kSliceBytes + 8 * one_row::kMostWarps);
    return few_rows_in_tensor_cores(k, real, w) && n % 2 == 0 && n <= INT_MAX / 2 &&
           k <= one_row::kMostWarps * one_row::kSlice && device.shared_bytes >= least;
}

bool one_row_fits(const OneRow& p, const Device& device) {
    return Cut(p, pairs_of(p), device).shared <= device.shared_bytes;
}

void one_row_4bit(const CudaContext& ctx, const OneRow& call) {
    OneRow p = call;
    const int n_pairs = pairs_of(p);
    const Cut cut(p, n_pairs, *ctx.device);
    p.n_tellers = std::min(cut.n_blocks, ctx.device->n_sms);
    const int shift = block_shift(p.parts[0].w);
    const auto run = [&](auto kernel) {
        launch_dependent(ctx, kernel, dim3(static_cast<unsigned>(cut.n_blocks)), cut.n_warps * kWarp,
                         static_cast<size_t>(cut.shared), p, n_pairs, shift);
    };
    p.real == DType::f16 ? run(one_row::kernel_of<f16>(p, cut.n_warps)) : run(one_row::kernel_of<bf16>(p, cut.n_warps));
}

}  // namespace ggq::cuda
