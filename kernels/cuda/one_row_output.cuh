// What one_row_4bit.cu does beside the product: where things stand in a block's shared memory, x a^T of adapters, and
// how sums become outputs.
//
// All blocks need x a^T of the adapters, which is too much to read for each of them. So some blocks multiply a row of
// an a with x, which they have in shared memory anyway, and tell all others (messages.h), which listen when they have
// their sums: by then there is nothing to wait for but memory.
#pragma once

#include "kernels/cuda/messages.cuh"
#include "kernels/cuda/one_row_loader.cuh"
#include "kernels/cuda/product_output.cuh"

namespace ggq::cuda::one_row {

inline constexpr int kTableBytes = 256 * 64 * 4;  // entries begin at multiples of 256 bytes: a byte is an offset

// Shared memory: the table, kSignedMap, facts, x in whole slices, then sums[pairs][slices][2], then the pairs' rows of
// b. Without adapters of the facts there are squares alone.
struct Facts {
    float squares[16], dots[16];  // of the warps: x x, x times a row of a
    uint32_t launch, unused[3];
    float xa[kMostMessages];
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

// Row `number` of those of all a.
struct RowOfA {
    const OneRowAdapter* adapter;
    int row;

    __device__ __forceinline__ RowOfA(const OneRow& p, int number) : adapter(&p.parts[0].adapter), row(number) {
        for (int i = 1; row >= adapter->rank; ++i) {
            row -= adapter->rank;
            adapter = &p.parts[i].adapter;
        }
    }
};

// A block's rows are this one and every n_tellers-th after it. Blocks tell that run at a time in any case.
__device__ __forceinline__ int first_row(const OneRow& p) {
    return static_cast<int>(blockIdx.x) < p.n_tellers ? static_cast<int>(blockIdx.x) : p.n_ranks;
}

__device__ __forceinline__ void unpack_as(DType dtype, const uint4& pack, float (&to)[8]) {
    if (dtype == DType::f16) unpack<f16>(pack, to);
    else unpack<bf16>(pack, to);
}

// Has what the block will read after the wait come to L2.
template <int n_threads>
__device__ __forceinline__ void ask_ahead(const OneRow& p) {
    const int i = static_cast<int>(threadIdx.x);
    const auto size_of = [](DType dtype) { return dtype == DType::f32 ? 4 : 2; };
    for (int row = first_row(p); row < p.n_ranks; row += p.n_tellers) {
        const RowOfA a(p, row);
        const int row_bytes = p.k * size_of(a.adapter->a_dtype);
        for (int at = i * 128; at < row_bytes; at += n_threads * 128)
            prefetch(static_cast<const char*>(a.adapter->a) + int64_t{a.row} * row_bytes + at);
    }
}

// x a^T of the rows of a that are this block's, told to all.
template <typename T, int W>
__device__ __forceinline__ void tell_rows(const OneRow& p, const uint4* x, Facts& facts) {
    for (int row = first_row(p); row < p.n_ranks; row += p.n_tellers) {
        const RowOfA a(p, row);
        float sum = 0;
#pragma unroll 2
        for (int i = static_cast<int>(threadIdx.x); i < p.k / 8; i += W * kWarp) {
            float xs[8], as[8];
            unpack<T>(x[place_of_piece(i / 8, i % 8)], xs);
            eight_at(a.adapter->a, a.adapter->a_dtype, int64_t{a.row} * p.k + int64_t{i} * 8, as);
#pragma unroll
            for (int e = 0; e < 8; ++e) sum = fmaf(xs[e], as[e], sum);
        }
        sum = warp_reduce<Sum>(sum);
        if (threadIdx.x % kWarp == 0) facts.dots[threadIdx.x / kWarp] = sum;
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int w = 1; w < W; ++w) sum += facts.dots[w];
            tell(p.messages, row, facts.launch, sum);
        }
        __syncthreads();
    }
}

// A warp waits for what the blocks tell.
__device__ __forceinline__ void hear_rows(const OneRow& p, Facts& facts) {
    for (int i = static_cast<int>(threadIdx.x); i < p.n_ranks; i += kWarp)
        facts.xa[i] = hear(p.messages, i, facts.launch);
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
