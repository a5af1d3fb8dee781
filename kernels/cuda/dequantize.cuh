// Reading quantized weights on the device, exactly as dequantization gives them: level * scale, one rounding, and a
// nested scale map[code] * nested + offset by two roundings that are never fused.
//
// The 16 levels stand in shared memory. Sixteen words lie in sixteen banks, and lanes that ask for the same word share
// one read, so a lookup by any codes is one access for a warp, without conflicts.
//
//     __shared__ float levels[16];
//     load_levels(levels, dtype);                                  // all threads of the block
//     __syncthreads();
//     const float scale = block_scale(q, i / q.block);
//     float w[8];
//     decode_codes(codes_at<8>(q.codes, i), levels, scale, w);     // i a multiple of 8: all in one block
#pragma once

#include "kernels/cuda/code_maps.cuh"
#include "kernels/formats.h"
#include "kernels/gguf_blocks.h"

namespace ggq::cuda {

[[maybe_unused]] static __device__ const DeviceTable<float, 16> kDeviceNf4Levels = device_table(kNf4Levels);
[[maybe_unused]] static __device__ const DeviceTable<float, 16> kDeviceFp4Levels = device_table(kFp4Levels);

// `dtype` is nf4 or fp4.
__device__ __forceinline__ float level(DType dtype, int code) {
    return (dtype == DType::nf4 ? kDeviceNf4Levels : kDeviceFp4Levels).of[code];
}

// levels[16] in shared memory; the caller synchronises.
__device__ __forceinline__ void load_levels(float* levels, DType dtype) {
    for (int i = static_cast<int>(threadIdx.x); i < 16; i += static_cast<int>(blockDim.x)) levels[i] = level(dtype, i);
}

// A scale from the parts of double quantization.
__device__ __forceinline__ float restore_scale(uint8_t code, float nested, float offset) {
    return __fadd_rn(__fmul_rn(kDeviceSignedMap.of[code], nested), offset);
}

// The scale of block `block` of a 4-bit tensor. The three loads of the nested form do not wait for one another.
__device__ __forceinline__ float block_scale(const QuantParts& q, int64_t block) {
    if (q.scales != nullptr) return q.scales[block];
    return restore_scale(q.scale_codes[block], q.nested[block / kNestedBlock], *q.offset);
}

// The factor of row `row` of an int8 tensor: a weight is code * factor.
__device__ __forceinline__ float row_factor(const QuantParts& q, int64_t row) {
    return __fdiv_rn(q.scales[row], 127.0f);
}

// N consecutive 4-bit codes, eight a word, as they stand in memory.
template <int N>
struct CodeWords {
    static_assert(N % 8 == 0);
    uint32_t of[N / 8];
};

// Codes i .. i + N - 1 of codes[n/2], in one access of 4, 8 or 16 bytes; i is a multiple of N, N is 8, 16 or 32.
template <int N>
__device__ __forceinline__ CodeWords<N> codes_at(const uint8_t* codes, int64_t i) {
    struct alignas(N / 2) Bytes {
        CodeWords<N> words;
    };
    return reinterpret_cast<const Bytes*>(codes + i / 2)->words;
}

// Code i (a constant) of a word of eight, times four: the byte offset of its level. The first of a pair is in the high
// half of its byte.
__device__ __forceinline__ uint32_t level_offset(uint32_t word, int i) {
    const int shift = 8 * (i / 2) + (i % 2 == 0 ? 4 : 0) - 2;
    return (shift < 0 ? word << 2 : word >> shift) & 60u;
}

// to[N] = the weights of N codes of one block.
template <int N>
__device__ __forceinline__ void decode_codes(const CodeWords<N>& codes, const float* levels, float scale,
                                             float (&to)[N]) {
    const char* base = reinterpret_cast<const char*>(levels);
#pragma unroll
    for (int i = 0; i < N; ++i) {
        const uint32_t offset = level_offset(codes.of[i / 8], i % 8);
        to[i] = __fmul_rn(*reinterpret_cast<const float*>(base + offset), scale);
    }
}

// The code of one weight.
__device__ __forceinline__ int code_at(const uint8_t* codes, int64_t i) {
    return i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15;
}

// is_packed() on the device: formats of GGUF are the last dtypes.
__device__ __forceinline__ bool holds_scales(DType dtype) { return dtype >= DType::q8_0; }
static_assert(!is_packed(DType::int8) && is_packed(DType::q8_0) && DType::q8_0 > DType::int8);

// Blocks that hold their scales (formats of GGUF): to[8] = weights at .. at + 7 of a tensor, `at` a multiple of 8.
__device__ __forceinline__ void decode_packed(DType dtype, const uint8_t* blocks, int64_t at, float (&to)[8]) {
    gguf::with_format(dtype, [&](auto format) { gguf::decode_run<decltype(format), 8>(blocks, at, to); });
}

// One weight of them.
__device__ __forceinline__ float packed_weight(DType dtype, const uint8_t* blocks, int64_t at) {
    float run[8];
    decode_packed(dtype, blocks, at / 8 * 8, run);
    float weight = run[0];
#pragma unroll
    for (int i = 1; i < 8; ++i) weight = at % 8 == i ? run[i] : weight;
    return weight;
}

}  // namespace ggq::cuda
