// Tiles in float for the form of attention that takes every dtype, head size and stride: elements are converted as they
// come to shared memory.
#pragma once

#include "kernels/cuda/attention_block.cuh"

namespace ggq::cuda {

// x[n, heads, D] of a dtype known when the kernel runs.
struct AnyRows {
    void* data;
    DType dtype;
    bool wide;  // rows begin at multiples of 16 bytes
    int64_t token, head;
};

inline AnyRows any_rows(const View& x) {
    return {.data = x.data, .dtype = x.dtype, .wide = rows_are_wide(x), .token = x.strides[0], .head = x.strides[1]};
}

template <int kRows, int kHead, int kStride, int kThreads, int kWidth, typename T>
__device__ __forceinline__ void fill_tile_as(float* tile, const AnyRows& x, int head, int first, int end, int D) {
    const T* data = static_cast<const T*>(x.data) + head * x.head;
#pragma unroll 2
    for (int i = threadIdx.x; i < kRows * kHead / kWidth; i += kThreads) {
        const int row = i / (kHead / kWidth), d = i % (kHead / kWidth) * kWidth;
        float values[kWidth] = {};
        if (first + row < end && d < D) load(data + (first + row) * x.token + d, values);
#pragma unroll
        for (int e = 0; e < kWidth; ++e) tile[row * kStride + d + e] = values[e];
    }
}

// Rows [first, first + kRows) of a head, zeros from row `end` and from element D on. A row of the tile takes kStride.
template <int kRows, int kHead, int kStride, int kThreads>
__device__ __forceinline__ void fill_tile(float* tile, const AnyRows& x, int head, int first, int end, int D) {
    const auto fill = [&](auto tag) {
        using T = decltype(tag);
        if (x.wide) fill_tile_as<kRows, kHead, kStride, kThreads, kWide<T>, T>(tile, x, head, first, end, D);
        else fill_tile_as<kRows, kHead, kStride, kThreads, 1, T>(tile, x, head, first, end, D);
    };
    if (x.dtype == DType::f32) fill(float{});
    else if (x.dtype == DType::f16) fill(f16{});
    else fill(bf16{});
}

__device__ __forceinline__ void store_any(const AnyRows& x, int64_t at, float value) {
    if (x.dtype == DType::f32) static_cast<float*>(x.data)[at] = value;
    else if (x.dtype == DType::f16) static_cast<f16*>(x.data)[at] = from_float<f16>(value);
    else static_cast<bf16*>(x.data)[at] = from_float<bf16>(value);
}

__device__ __forceinline__ float4 load4(const float* from) { return *reinterpret_cast<const float4*>(from); }

// s[i][j] += a[row + step i] b[column + 16 j] over D, from tiles whose rows take kA and kB.
template <int kOwn, int kPass, int kA, int kB>
__device__ __forceinline__ void add_scores(float (&s)[kOwn][kPass], const float* a, int row, int step, const float* b,
                                           int column, int D) {
#pragma unroll 2
    for (int d = 0; d < D; d += 4) {
        float4 x[kOwn], y[kPass];
#pragma unroll
        for (int i = 0; i < kOwn; ++i) x[i] = load4(a + (row + step * i) * kA + d);
#pragma unroll
        for (int j = 0; j < kPass; ++j) y[j] = load4(b + (column + 16 * j) * kB + d);
#pragma unroll
        for (int i = 0; i < kOwn; ++i)
#pragma unroll
            for (int j = 0; j < kPass; ++j) {
                s[i][j] = fmaf(x[i].x, y[j].x, s[i][j]);
                s[i][j] = fmaf(x[i].y, y[j].y, s[i][j]);
                s[i][j] = fmaf(x[i].z, y[j].z, s[i][j]);
                s[i][j] = fmaf(x[i].w, y[j].w, s[i][j]);
            }
    }
}

// o[i][4 c + e] += p[row + step i][n] v[n][64 c + 4 column + e] over n < kN; rows of p take kN, of v kV.
template <int kOwn, int kHead, int kN, int kV>
__device__ __forceinline__ void add_rows(float (&o)[kOwn][kHead / 16], const float* p, int row, int step,
                                         const float* v, int column) {
#pragma unroll 2
    for (int n = 0; n < kN; ++n) {
        float x[kOwn];
#pragma unroll
        for (int i = 0; i < kOwn; ++i) x[i] = p[(row + step * i) * kN + n];
#pragma unroll
        for (int c = 0; c < kHead / 64; ++c) {
            const float4 y = load4(v + n * kV + 64 * c + 4 * column);
#pragma unroll
            for (int i = 0; i < kOwn; ++i) {
                o[i][4 * c] = fmaf(x[i], y.x, o[i][4 * c]);
                o[i][4 * c + 1] = fmaf(x[i], y.y, o[i][4 * c + 1]);
                o[i][4 * c + 2] = fmaf(x[i], y.z, o[i][4 * c + 2]);
                o[i][4 * c + 3] = fmaf(x[i], y.w, o[i][4 * c + 3]);
            }
        }
    }
}

// Writes factor * o, as add_rows leaves it, to row `at` (its first element) of contiguous x.
template <int kHead>
__device__ __forceinline__ void store_row(const AnyRows& x, int64_t at, const float (&o)[kHead / 16], float factor,
                                          int column, int D) {
#pragma unroll
    for (int c = 0; c < kHead / 16; ++c) {
        const int d = 64 * (c / 4) + 4 * column + c % 4;
        if (d < D) store_any(x, at + d, o[c] * factor);
    }
}

}  // namespace ggq::cuda
