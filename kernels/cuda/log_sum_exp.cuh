// The largest element of a row and the sum of exp(x - largest) in one pass: a thread rescales its sum when its own
// maximum grows (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018).
#pragma once

#include <cfloat>

#include "kernels/cuda/row.cuh"

namespace ggq::cuda {

struct ExpSum {
    float top = -FLT_MAX;  // not -inf, whose difference from itself is NaN
    float sum = 0;         // of exp(x - top)
};

template <int N>
__device__ __forceinline__ void add_to(ExpSum& s, const float (&x)[N]) {
    float top = s.top;
#pragma unroll
    for (int i = 0; i < N; ++i) top = x[i] > top ? x[i] : top;
    s.sum *= expf(s.top - top);
    s.top = top;
#pragma unroll
    for (int i = 0; i < N; ++i) s.sum += expf(x[i] - top);
}

// Of a row x[n], by a block of `threads`; every thread gets it.
template <int threads, bool wide, typename T>
__device__ __forceinline__ ExpSum exp_sum_of_row(const T* x, int64_t n) {
    constexpr int N = kWide<T>;
    ExpSum mine;
    for (int64_t at = static_cast<int64_t>(threadIdx.x) * N; at < n; at += threads * N) {
        float v[N];
        load_part<wide>(x, at, n, v, -FLT_MAX);
        add_to(mine, v);
    }
    const float top = block_reduce<Max, threads>(mine.top);
    return {top, block_reduce<Sum, threads>(mine.sum * expf(mine.top - top))};
}

// Calls f with the number of threads for rows of n elements, as std::integral_constant.
template <typename F>
void with_row_threads(int64_t n, const F& f) {
    if (n <= 2048) f(std::integral_constant<int, 128>{});
    else f(std::integral_constant<int, 512>{});
}

}  // namespace ggq::cuda
