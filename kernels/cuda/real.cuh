// Element types on the device: conversion to and from float, in which all kernels compute, and accesses of several
// elements at once.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "kernels/view.h"

namespace ggq::cuda {

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(f16 x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }

// To nearest even.
template <typename T>
__device__ __forceinline__ T from_float(float x) {
    if constexpr (std::is_same_v<T, float>) return x;
    else if constexpr (std::is_same_v<T, f16>) return {__half_as_ushort(__float2half_rn(x))};
    else return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
}

// N elements side by side, read and written in one access (N * sizeof(T) is 2, 4, 8 or 16 and divides the address).
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
    T of[N];
};

// Elements in an access of 16 bytes.
template <typename T>
inline constexpr int kWide = 16 / static_cast<int>(sizeof(T));

template <int N, typename T>
__device__ __forceinline__ void load(const T* from, float (&to)[N]) {
    const auto pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = to_float(pack.of[i]);
}

template <int N, typename T>
__device__ __forceinline__ void store(T* to, const float (&from)[N]) {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.of[i] = from_float<T>(from[i]);
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

}  // namespace ggq::cuda
