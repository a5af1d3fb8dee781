// What one_row_4bit.cu does beside the product: where things stand in a block's shared memory, x a^T of adapters, and
// how sums become outputs.
//
// All blocks need x a^T of the adapters, which is too much to read for each of them. So every warp multiplies a small
// unit of it and tells all blocks (messages.h), which listen when they have their sums: by then there is nothing to
// wait for but memory. The units of a row are added in order.
#pragma once

#include "kernels/cuda/messages.cuh"
#include "kernels/cuda/one_row_loader.cuh"
#include "kernels/cuda/product_output.cuh"

namespace ggq::cuda::one_row {

inline constexpr int kTableBytes = 256 * 64 * 4;  // entries begin at multiples of 256 bytes: a byte is an offset

// Shared memory: the table, kSignedMap, facts, x in whole slices, then sums[pairs][slices][2], then the pairs' rows of
// b. Without adapters of the facts there are squares alone.
struct Facts {
    float squares[32];  // x x of the warps
    float units[kMostMessages], xa[kMostRanks];
};
inline constexpr int kMapAt = kTableBytes, kFactsAt = kMapAt + 256 * 4, kXAt = kFactsAt + 32 * 4,
                     kAdaptedXAt = kFactsAt + int{sizeof(Facts)}, kSliceBytes = kSlice * 2;
static_assert(kAdaptedXAt % 16 == 0);

struct Layout {
    int x, sums, adapters, bytes;

    __host__ __device__ __forceinline__ Layout(bool adapted, int adapter_bytes, int n_pairs, int n_slices)
        : x(adapted ? kAdaptedXAt : kXAt),
          sums(x + n_slices * kSliceBytes),
          adapters(round_up(sums + 8 * n_slices * n_pairs, 16)),
          bytes(adapters + adapter_bytes * n_pairs) {}
};

template <typename T>
__device__ __forceinline__ void unpack(const uint4& pack, float (&to)[8]) {
    const auto values = *reinterpret_cast<const Pack<T, 8>*>(&pack);
#pragma unroll
    for (int i = 0; i < 8; ++i) to[i] = to_float(values.of[i]);
}

// Where piece `piece` of 8 elements of a segment of x stands: odd segments have other banks than even ones.
__device__ __forceinline__ int place_of_piece(int segment, int piece) { return segment * 8 + (piece ^ (segment & 1)); }

__device__ __forceinline__ int row_bytes_of_b(const OneRowAdapter& adapter) {
    return adapter.rank * (adapter.b_dtype == DType::f32 ? 4 : 2);
}

// x a^T of all adapters in units, a stretch of k of a row each, which the warps of all blocks share: unit u is that of
// row u % n_ranks of all a.
struct Unit {
    const OneRowAdapter* adapter;
    int row, begin, end;

    __device__ __forceinline__ Unit(const OneRow& p, int number)
        : adapter(&p.parts[0].adapter),
          row(number % p.n_ranks),
          begin(number / p.n_ranks * p.unit_size),
          end(min(begin + p.unit_size, p.k)) {
        for (int i = 1; row >= adapter->rank; ++i) {
            row -= adapter->rank;
            adapter = &p.parts[i].adapter;
        }
    }
    __device__ __forceinline__ const char* a_at(const OneRow& p, int k) const {
        const int64_t at = int64_t{row} * p.k + k;
        return static_cast<const char*>(adapter->a) + at * (adapter->a_dtype == DType::f32 ? 4 : 2);
    }
};

// A warp's units; those of blocks that run at a time in any case.
__device__ __forceinline__ int first_unit(const OneRow& p) {
    const int block = static_cast<int>(blockIdx.x), warp = static_cast<int>(threadIdx.x) / kWarp;
    return block < p.n_tellers ? block + p.n_tellers * warp : p.n_units;
}

// Has what the warps will read after the wait come to L2.
template <int W>
__device__ __forceinline__ void ask_ahead(const OneRow& p) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    for (int u = first_unit(p); u < p.n_units; u += p.n_tellers * W) {
        const Unit unit(p, u);
        for (int k = unit.begin + lane * 8; k < unit.end; k += kWarp * 8) prefetch(unit.a_at(p, k));
    }
}

// What a lane of a warp's first unit reads first of a 16-bit a.
__device__ __forceinline__ uint4 read_first(const OneRow& p) {
    if (first_unit(p) >= p.n_units) return {};
    const Unit unit(p, first_unit(p));
    const int k = unit.begin + static_cast<int>(threadIdx.x) % kWarp * 8;
    if (unit.adapter->a_dtype == DType::f32 || k >= unit.end) return {};
    return *reinterpret_cast<const uint4*>(unit.a_at(p, k));
}

__device__ __forceinline__ void unpack_as(DType dtype, const uint4& pack, float (&to)[8]) {
    if (dtype == DType::f16) unpack<f16>(pack, to);
    else unpack<bf16>(pack, to);
}

// The block's warps multiply their units with x and tell all blocks.
template <typename T, int W>
__device__ __forceinline__ void tell_units(const OneRow& p, const uint4* x, const uint4& first) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    for (int u = first_unit(p); u < p.n_units; u += p.n_tellers * W) {
        const Unit unit(p, u);
        const DType dtype = unit.adapter->a_dtype;
        float sum = 0;
        for (int k = unit.begin + lane * 8; k < unit.end; k += kWarp * 8) {
            float xs[8], as[8];
            unpack<T>(x[place_of_piece(k / 64, k / 8 % 8)], xs);
            if (u == first_unit(p) && k < unit.begin + kWarp * 8 && dtype != DType::f32) unpack_as(dtype, first, as);
            else eight_at(unit.adapter->a, dtype, int64_t{unit.row} * p.k + k, as);
#pragma unroll
            for (int e = 0; e < 8; ++e) sum = fmaf(xs[e], as[e], sum);
        }
        sum = warp_reduce<Sum>(sum);
        if (lane == 0) tell(p.messages, u, number_of_launch(p.messages), sum);
    }
}

// x a^T of all rows of a, from what the warps of all blocks told. All threads of the block call it.
template <int W>
__device__ __forceinline__ void hear_units(const OneRow& p, Facts& facts) {
    const uint32_t launch = number_of_launch(p.messages);
    for (int u = static_cast<int>(threadIdx.x); u < p.n_units; u += W * kWarp)
        facts.units[u] = hear(p.messages, u, launch);
    __syncthreads();
    if (threadIdx.x == 0) leave(p.messages);
    for (int r = static_cast<int>(threadIdx.x); r < p.n_ranks; r += W * kWarp) {
        float sum = 0;
        for (int u = r; u < p.n_units; u += p.n_ranks) sum += facts.units[u];
        facts.xa[r] = sum;
    }
}

// Copies of the rows of b of the block's pairs are under way afterwards.
template <int n_threads, Pairs pairs>
__device__ __forceinline__ void copy_rows_of_b(const OneRow& p, const Place& at, const Layout& layout,
                                               unsigned char* shared) {
    const int n_pairs = at.last_pair - at.first_pair, n_pieces = p.adapter_bytes / 16;
    for (int i = static_cast<int>(threadIdx.x); i < n_pairs * n_pieces; i += n_threads) {
        int pair = at.first_pair + i / n_pieces, in_pair = i % n_pieces * 16;
        unsigned char* to = shared + layout.adapters + i * 16;
        const OneRowAdapter& first = p.parts[part_of<pairs>(p, pair)].adapter;
        const int bytes = row_bytes_of_b(first);
        if constexpr (pairs == Pairs::of_two) {
            const OneRowAdapter& second = p.parts[1].adapter;
            const bool of_first = in_pair < bytes;
            const char* row = of_first
                                  ? static_cast<const char*>(first.b) + int64_t{pair} * bytes
                                  : static_cast<const char*>(second.b) + int64_t{pair} * row_bytes_of_b(second) - bytes;
            copy_async(to, row + in_pair, true);
        } else if (in_pair < 2 * bytes) {
            copy_async(to, static_cast<const char*>(first.b) + int64_t{pair} * 2 * bytes + in_pair, true);
        }
    }
}

__device__ __forceinline__ float low_rank_at(const OneRowAdapter& adapter, const unsigned char* b, const float* xa) {
    float sum = 0;
    const int step = adapter.b_dtype == DType::f32 ? 4 : 8;
    for (int c = 0; c < adapter.rank; c += step) {
        const uint4 pack = *reinterpret_cast<const uint4*>(b + c * 16 / step);
        if (adapter.b_dtype == DType::f32) {
            const float values[4] = {__uint_as_float(pack.x), __uint_as_float(pack.y), __uint_as_float(pack.z),
                                     __uint_as_float(pack.w)};
#pragma unroll
            for (int e = 0; e < 4; ++e) sum = fmaf(values[e], xa[c + e], sum);
        } else {
            float values[8];
            unpack_as(adapter.b_dtype, pack, values);
#pragma unroll
            for (int e = 0; e < 8; ++e) sum = fmaf(values[e], xa[c + e], sum);
        }
    }
    return adapter.scale * sum;
}

// What the adapters add to both sums of pair i of the block, which is in part `part`.
template <Pairs pairs>
__device__ __forceinline__ float2 low_rank_of_pair(const OneRow& p, int part, const unsigned char* b,
                                                   const Facts& facts) {
    const OneRowAdapter& first = p.parts[part].adapter;
    const float* xa = facts.xa;
    for (int i = 0; i < part; ++i) xa += p.parts[i].adapter.rank;
    const unsigned char* second_b = b + row_bytes_of_b(first);
    if constexpr (pairs == Pairs::of_two)
        return {low_rank_at(first, b, xa), low_rank_at(p.parts[1].adapter, second_b, xa + first.rank)};
    return {low_rank_at(first, b, xa), low_rank_at(first, second_b, xa)};
}

__device__ __forceinline__ void write_row(const OneRow& p, const OneRowPart& part, int row, float sum) {
    if (p.add != nullptr) sum += value_at(p.add, p.real, row);
    finish(part.y, 0, row, sum);
}

// The outputs of the block's pairs, a thread each.
template <typename T, int W, Pairs pairs, bool adapted>
__device__ __forceinline__ void write_pairs(const OneRow& p, const Place& at, const Layout& layout, const Facts& facts,
                                            const unsigned char* shared) {
    float rstd = 1;
    if (p.norm != nullptr) {
        float sum = 0;
        for (int i = 0; i < W; ++i) sum += facts.squares[i];
        rstd = 1 / sqrtf(sum / static_cast<float>(p.k) + p.eps);
    }
    const auto* sums = reinterpret_cast<const float2*>(shared + layout.sums);
    for (int i = static_cast<int>(threadIdx.x); i < at.last_pair - at.first_pair; i += W * kWarp) {
        int pair = at.first_pair + i;
        const int number = part_of<pairs>(p, pair);
        float2 sum{0, 0};
        if constexpr (adapted)
            sum = low_rank_of_pair<pairs>(p, number, shared + layout.adapters + i * p.adapter_bytes, facts);
        for (int slice = 0; slice < at.n_slices; ++slice) {
            const float2 of_slice = sums[i * at.n_slices + slice];
            sum.x += of_slice.x;
            sum.y += of_slice.y;
        }
        sum.x *= rstd;
        sum.y *= rstd;
        const OneRowPart& part = p.parts[number];
        if constexpr (pairs == Pairs::of_two) {
            static_cast<T*>(part.y.data)[pair] = from_float<T>(sum.x / (1 + expf(-sum.x)) * sum.y);
        } else {
            write_row(p, part, 2 * pair, sum.x);
            write_row(p, part, 2 * pair + 1, sum.y);
        }
    }
}

}  // namespace ggq::cuda::one_row
