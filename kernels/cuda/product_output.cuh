// How products end: the low-rank update, scaling, what y held before, one rounding.
#pragma once

#include "kernels/cuda/product.h"
#include "kernels/cuda/real.cuh"

namespace ggq::cuda {

// Element i of an array of a float type known only now; all lanes of a warp take the same way.
__device__ __forceinline__ float value_at(const void* data, DType dtype, int64_t i) {
    if (dtype == DType::f32) return static_cast<const float*>(data)[i];
    if (dtype == DType::f16) return to_float(static_cast<const f16*>(data)[i]);
    return to_float(static_cast<const bf16*>(data)[i]);
}

// Elements i .. i + 7, aligned to 16 bytes.
__device__ __forceinline__ void eight_at(const void* data, DType dtype, int64_t i, float (&to)[8]) {
    if (dtype == DType::f32) {
        load<4>(static_cast<const float*>(data) + i, reinterpret_cast<float(&)[4]>(to[0]));
        load<4>(static_cast<const float*>(data) + i + 4, reinterpret_cast<float(&)[4]>(to[4]));
    } else if (dtype == DType::f16) {
        load<8>(static_cast<const f16*>(data) + i, to);
    } else {
        load<8>(static_cast<const bf16*>(data) + i, to);
    }
}

__device__ __forceinline__ bool on_16_bytes(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

__device__ __forceinline__ void set_value(void* data, DType dtype, int64_t i, float value) {
    if (dtype == DType::f32) static_cast<float*>(data)[i] = value;
    else if (dtype == DType::f16) static_cast<f16*>(data)[i] = from_float<f16>(value);
    else static_cast<bf16*>(data)[i] = from_float<bf16>(value);
}

// s xa[i,:] b[j,:]^T
__device__ __forceinline__ float low_rank_at(const LowRank& u, int64_t i, int64_t j) {
    const int64_t xa_at = i * u.rank, b_at = j * u.rank;
    float sum = 0;
    if (u.rank % 8 == 0 && on_16_bytes(u.xa) && on_16_bytes(u.b)) {
        for (int c = 0; c < u.rank; c += 8) {
            float xa[8], b[8];
            eight_at(u.b, u.b_dtype, b_at + c, b);
            eight_at(u.xa, u.xa_dtype, xa_at + c, xa);
#pragma unroll
            for (int e = 0; e < 8; ++e) sum += xa[e] * b[e];
        }
    } else {
        for (int c = 0; c < u.rank; ++c)
            sum += value_at(u.xa, u.xa_dtype, xa_at + c) * value_at(u.b, u.b_dtype, b_at + c);
    }
    return u.scale * sum;
}

// y[i,j] from its sum over k.
__device__ __forceinline__ void finish(const Output& y, int64_t i, int64_t j, float sum) {
    const int64_t at = i * y.row_stride + j * y.col_stride;
    float value = y.alpha * sum;
    if (y.low_rank.rank > 0) value += low_rank_at(y.low_rank, i, j);
    if (y.beta != 0) value += y.beta * value_at(y.data, y.dtype, at);
    set_value(y.data, y.dtype, at, value);
}

}  // namespace ggq::cuda
