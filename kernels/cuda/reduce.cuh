// Sums and maxima over a warp or a block, always in the same order, so that two runs give the same bits.
#pragma once

#include <cuda_runtime.h>

namespace ggq::cuda {

inline constexpr int kWarp = 32;

struct Sum {
    template <typename T>
    __device__ __forceinline__ static T of(T a, T b) {
        return a + b;
    }
};

struct Max {
    template <typename T>
    __device__ __forceinline__ static T of(T a, T b) {
        return a > b ? a : b;
    }
};

// Every lane gets the result; `lanes` neighbours (a power of two) make a group.
template <typename Op, int lanes = kWarp, typename T>
__device__ __forceinline__ T warp_reduce(T x) {
#pragma unroll
    for (int distance = lanes / 2; distance > 0; distance /= 2)
        x = Op::of(x, __shfl_xor_sync(0xffffffffu, x, distance));
    return x;
}

// Every thread of a block of `threads` (a multiple of 32) gets the result. All of them call it.
template <typename Op, int threads, typename T>
__device__ __forceinline__ T block_reduce(T x) {
    static_assert(threads % kWarp == 0);
    constexpr int n_warps = threads / kWarp;
    x = warp_reduce<Op>(x);
    if constexpr (n_warps == 1) return x;
    __shared__ T of_warp[n_warps];
    __syncthreads();  // the last use of of_warp is over
    if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = x;
    __syncthreads();
    x = of_warp[0];
#pragma unroll
    for (int i = 1; i < n_warps; ++i) x = Op::of(x, of_warp[i]);
    return x;
}

}  // namespace ggq::cuda
