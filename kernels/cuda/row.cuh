// Kernels that give a row to a block: which elements a thread takes and how it reads and writes them. A row is cut into
// parts of N elements, and thread i takes parts i, i + threads, ... A part is one or two accesses of 16 bytes if
// `wide`, else N single ones: either way the same thread adds the same elements in the same order.
#pragma once

#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/reduce.cuh"

namespace ggq::cuda {

// Whether rows of n elements at `base` can be read in parts of N.
template <int N, typename T>
bool wide_rows(const T* base, int64_t n) {
    return n % N == 0 && aligned(base, N < kWide<T> ? N * int64_t{sizeof(T)} : 16);
}

// Elements at .. at + N - 1 of a row of n > at; those beyond the row are `beyond`.
template <bool wide, int N, typename T>
__device__ __forceinline__ void load_part(const T* row, int64_t at, int64_t n, float (&to)[N], float beyond = 0) {
    if constexpr (wide) {
        constexpr int access = N < kWide<T> ? N : kWide<T>;
#pragma unroll
        for (int i = 0; i < N; i += access) load<access>(row + at + i, reinterpret_cast<float(&)[access]>(to[i]));
    } else {
#pragma unroll
        for (int i = 0; i < N; ++i) to[i] = at + i < n ? to_float(row[at + i]) : beyond;
    }
}

template <bool wide, int N, typename T>
__device__ __forceinline__ void store_part(T* row, int64_t at, int64_t n, const float (&from)[N]) {
    if constexpr (wide) {
        constexpr int access = N < kWide<T> ? N : kWide<T>;
#pragma unroll
        for (int i = 0; i < N; i += access)
            store<access>(row + at + i, reinterpret_cast<const float(&)[access]>(from[i]));
    } else {
#pragma unroll
        for (int i = 0; i < N; ++i)
            if (at + i < n) row[at + i] = from_float<T>(from[i]);
    }
}

// A part that waits in registers as it lies in memory, in as few of them; its elements are floats where they are used.
template <typename T, int N>
struct Held {
    static constexpr int kBytes = N * static_cast<int>(sizeof(T)), kAccess = kBytes < 16 ? kBytes : 16;
    uint32_t words[kBytes / 4] = {};

    // Beyond a row of n elements there are zeros.
    template <bool wide>
    __device__ __forceinline__ void read(const T* row, int64_t at, int64_t n) {
        if constexpr (wide) {
            using Access = Pack<uint32_t, kAccess / 4>;
            if (at >= n) return;
#pragma unroll
            for (int i = 0; i < kBytes / kAccess; ++i) {
                const Access access = reinterpret_cast<const Access*>(row + at)[i];
#pragma unroll
                for (int j = 0; j < kAccess / 4; ++j) words[i * (kAccess / 4) + j] = access.of[j];
            }
        } else {
#pragma unroll
            for (int i = 0; i < N; ++i)
                if (at + i < n) set(i, row[at + i]);
        }
    }
    __device__ __forceinline__ float operator[](int i) const {
        if constexpr (sizeof(T) == 4) return __uint_as_float(words[i]);
        else return to_float(T{static_cast<uint16_t>(i % 2 ? words[i / 2] >> 16 : words[i / 2])});
    }

private:
    __device__ __forceinline__ void set(int i, T x) {
        if constexpr (sizeof(T) == 4) words[i] = __float_as_uint(x);
        else words[i / 2] |= uint32_t{x.bits} << (i % 2 * 16);
    }
};

// Calls f with std::true_type or std::false_type, for a template argument.
template <typename F>
void with_bool(bool value, const F& f) {
    value ? f(std::true_type{}) : f(std::false_type{});
}

}  // namespace ggq::cuda
