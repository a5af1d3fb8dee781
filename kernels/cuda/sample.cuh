// A block's part of a row of logits, as sample.cu describes it: logits with their penalties, sums over the block, and
// the place where the blocks of a row meet.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/workspace.h"

namespace ggq::cuda::choosing {

using namespace sampling;

inline constexpr int kThreads = 256, kWarps = kThreads / kWarp, kInFlight = 8;

struct Call {
    const int32_t* rows;       // [T]
    const Settings* settings;  // [R]
    const int64_t* seeds;      // [R]
    const int32_t* positions;  // [R]
    const int32_t* log;        // [R,S]
    int64_t n_rows, n_log, V;
    SampleRow* scratch;  // [T]
    int32_t* tokens;     // [T]

    __device__ int row() const {  // -1: none
        const int r = rows[blockIdx.y];
        return r >= 0 && r < n_rows ? r : -1;
    }
};

// The tokens of the window and how often each is in it: a table in which a token stands at the first free place from
// its number's remainder on.
struct Penalties {
    static constexpr int kPlaces = 512;
    int32_t ids[kPlaces];  // -1: free
    int counts[kPlaces];

    // All threads of the block together.
    __device__ void fill(const Call& call, int r) {
        for (int i = threadIdx.x; i < kPlaces; i += kThreads) ids[i] = -1, counts[i] = 0;
        __syncthreads();
        const int64_t n_earlier = int64_t{call.positions[r]} + 1, end = n_earlier < call.n_log ? n_earlier : call.n_log;
        const int64_t at = end - 1 - static_cast<int64_t>(threadIdx.x);
        const int id = threadIdx.x < kWindow && at >= 0 ? call.log[r * call.n_log + at] : -1;
        if (id >= 0) {
            int place = id % kPlaces;
            for (int there; (there = atomicCAS(&ids[place], -1, id)) != -1 && there != id;)
                place = (place + 1) % kPlaces;
            atomicAdd(&counts[place], 1);
        }
        __syncthreads();
    }

    __device__ float apply(int64_t id, float logit, const Settings& s) const {
        for (int place = static_cast<int>(id % kPlaces); ids[place] != -1; place = (place + 1) % kPlaces)
            if (ids[place] == id) return penalized(logit, counts[place], s);
        return logit;
    }
};

// The logits that a block looks at: those of tokens [first, last).
template <typename T>
struct Part {
    const T* x;
    const Penalties* penalties;
    Settings settings;
    bool penalizes;
    int64_t n, first, last;

    __device__ Part(const T* logits, const Call& call, int r, const Penalties* of)
        : x(logits + blockIdx.y * call.V),
          penalties(of),
          settings(call.settings[r]),
          penalizes(settings.penalizes()),
          n(call.V) {
        if (settings.vocabulary >= 1 && settings.vocabulary < static_cast<float>(n))
            n = static_cast<int64_t>(settings.vocabulary);
        const int64_t each = ceil_div(n, int64_t{gridDim.x});
        first = min(n, blockIdx.x * each);
        last = min(n, first + each);
    }

    __device__ float penalized_at(int64_t id, float logit) const {
        return penalizes ? penalties->apply(id, logit, settings) : logit;
    }
    __device__ float at(int64_t id) const { return penalized_at(id, to_float(x[id])); }

    // f(token, logit) of the tokens begin, begin + step, ... up to `end`, kInFlight of them read before the first is
    // used.
    template <int step, typename F>
    __device__ void for_range(int64_t begin, int64_t end, const F& f) const {
        for (; begin < end; begin += step * kInFlight) {
            float logits[kInFlight];
#pragma unroll
            for (int i = 0; i < kInFlight; ++i)
                if (begin + i * step < end) logits[i] = to_float(x[begin + i * step]);
#pragma unroll
            for (int i = 0; i < kInFlight; ++i)
                if (begin + i * step < end) f(begin + i * step, penalized_at(begin + i * step, logits[i]));
        }
    }

    // f(token, logit) of all tokens of the part, by all threads of the block.
    template <typename F>
    __device__ void for_each(const F& f) const {
        for_range<kThreads>(first + threadIdx.x, last, f);
    }
};

// Order of logits, and of equal ones the first token first, as an integer; all ones where one is not finite.
__device__ __forceinline__ uint64_t rank_of(float logit, int64_t id) {
    if (!isfinite(logit)) return ~uint64_t{0};
    const uint32_t bits = __float_as_uint(logit + 0.f);  // without a sign of 0
    const uint32_t ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
    return static_cast<uint64_t>(ordered) << 32 | (0xffffffffu - static_cast<uint32_t>(id));
}

__device__ __forceinline__ int token_of(uint64_t rank) {
    return rank == ~uint64_t{0} ? -1 : static_cast<int>(0xffffffffu - static_cast<uint32_t>(rank));
}

struct Sums {
    uint64_t count = 0, weight = 0;

    __device__ void add(const Sums& other) {
        count += other.count;
        weight += other.weight;
    }
};

// Of this lane and those before it.
__device__ __forceinline__ Sums sums_up_to(Sums sums) {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int distance = 1; distance < kWarp; distance *= 2) {
        const Sums other{__shfl_up_sync(0xffffffffu, sums.count, distance),
                         __shfl_up_sync(0xffffffffu, sums.weight, distance)};
        if (lane >= distance) sums.add(other);
    }
    return sums;
}

__device__ __forceinline__ Sums of_lane(const Sums& sums, int lane) {
    return {__shfl_sync(0xffffffffu, sums.count, lane), __shfl_sync(0xffffffffu, sums.weight, lane)};
}

// Of the warps before this one, given what each has, and of all of them.
struct SumsOfWarps {
    Sums before, all;
};
__device__ __forceinline__ SumsOfWarps sums_of_warps(const Sums& own) {
    __shared__ Sums of_warp[kWarps];
    __syncthreads();  // the last use of of_warp is over
    if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = own;
    __syncthreads();
    SumsOfWarps sums;
    for (unsigned w = 0; w < kWarps; ++w) {
        if (w < threadIdx.x / kWarp) sums.before.add(of_warp[w]);
        sums.all.add(of_warp[w]);
    }
    return sums;
}

// Waits for all blocks of the row, which run at a time, for the round-th time. What they wrote before is to be seen
// through the L2 cache.
__device__ __forceinline__ void meet(SampleRow& row, uint32_t round) {
    __threadfence();
    __syncthreads();
    if (gridDim.x > 1 && threadIdx.x == 0) {
        atomicAdd(&row.arrived, 1);
        while (*static_cast<volatile uint32_t*>(&row.arrived) < round * gridDim.x) {
        }
        __threadfence();
    }
    __syncthreads();
}

}  // namespace ggq::cuda::choosing
