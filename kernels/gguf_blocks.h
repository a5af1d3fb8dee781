// Blocks of weights as GGUF files hold them, decoded on the CPU and on a card alike, to the bit. A block's weights
// stand one after the other in a row; d, m and the like are f16.
//
//   q8_0    d, 32 signed bytes                                    d q
//   q4_0    d, 16 bytes                                           d (q - 8)
//   q4_1    d, m, 16 bytes                                        d q + m
//   q5_0    d, 32 fifth bits, 16 bytes                            d (q - 16)
//   q5_1    d, m, 32 fifth bits, 16 bytes                         d q + m
//   iq4_nl  d, 16 bytes                                           d level[q]
//   q4_k    d, dmin, 12 bytes of scales, 128 bytes                (d s) q - dmin o
//   q5_k    d, dmin, 12 bytes of scales, 256 fifth bits, 128      (d s) q - dmin o
//   q6_k    128 bytes, 64 bytes of fifth and sixth bits, 16 signed scales, d     (d s) (q - 32)
//
// Four-bit codes of a block of 32: byte i has that of weight i below and that of weight 16 + i above. Of q4_k and q5_k:
// of each 64 weights, byte i of 32 has weight i below and weight 32 + i above; each 32 weights have a scale s and an
// offset o of 6 bits. Each product and sum is rounded to float on its own. Source: github.com/ggml-org/ggml,
// src/ggml-common.h and the reference dequantization in src/ggml-quants.c.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/host_device.h"
#include "kernels/view.h"

namespace ggq::gguf {

// Of builds for CPUs, which contract nothing, plain operations are these.
GGQ_SHARED float product(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

GGQ_SHARED float sum(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

GGQ_SHARED float half_at(const uint8_t* at) {
    const auto bits = static_cast<uint32_t>(at[0] | at[1] << 8);
    const uint32_t rest = (bits & 0x7fffu) << 13, sign = (bits & 0x8000u) << 16;
    float value;  // subnormal numbers too: placed in a float and multiplied by 2^112; infinity and NaN apart
    memcpy(&value, &rest, 4);
    value = product(value, 0x1p112f);
    uint32_t whole;
    memcpy(&whole, &value, 4);
    whole = sign | (rest >= 0x0f800000u ? 0x70000000u | rest : whole);
    memcpy(&value, &whole, 4);
    return value;
}

// Each format: to[N] = weights first .. first + N - 1 of a block, where N is 8 or 16 and divides `first`.

GGQ_SHARED int fifth_bit(const uint8_t* bits, int i) { return (bits[i / 8] >> (i % 8) & 1) << 4; }
GGQ_SHARED int four_bits(uint8_t byte, int shift) { return byte >> shift & 15; }

struct Q8_0 {
    static constexpr int kElems = 32, kBytes = 34;
    template <int N>
    GGQ_SHARED static void decode(const uint8_t* block, int first, float* to) {
        const float d = half_at(block);
        const uint8_t* codes = block + 2 + first;
        for (int i = 0; i < N; ++i) to[i] = product(static_cast<float>(static_cast<int8_t>(codes[i])), d);
    }
};

struct Q4_0 {
    static constexpr int kElems = 32, kBytes = 18;
    template <int N>
    GGQ_SHARED static void decode(const uint8_t* block, int first, float* to) {
        const float d = half_at(block);
        const uint8_t* codes = block + 2 + first % 16;
        const int shift = first < 16 ? 0 : 4;
        for (int i = 0; i < N; ++i) to[i] = product(static_cast<float>(four_bits(codes[i], shift) - 8), d);
    }
};

struct Q4_1 {
    static constexpr int kElems = 32, kBytes = 20;
    template <int N>
    GGQ_SHARED static void decode(const uint8_t* block, int first, float* to) {
        const float d = half_at(block), m = half_at(block + 2);
        const uint8_t* codes = block + 4 + first % 16;
        const int shift = first < 16 ? 0 : 4;
        for (int i = 0; i < N; ++i) to[i] = sum(product(static_cast<float>(four_bits(codes[i], shift)), d), m);
    }
};

struct Q5_0 {
    static constexpr int kElems = 32, kBytes = 22;
    template <int N>
    GGQ_SHARED static void decode(const uint8_t* block, int first, float* to) {
        const float d = half_at(block);
        const uint8_t *bits = block + 2, *codes = block + 6 + first % 16;
        const int shift = first < 16 ? 0 : 4;
        for (int i = 0; i < N; ++i) {
            const int code = four_bits(codes[i], shift) | fifth_bit(bits, first + i);
            to[i] = product(static_cast<float>(code - 16), d);
        }
    }
};

struct Q5_1 {
    static constexpr int kElems = 32, kBytes = 24;
    template <int N>
    GGQ_SHARED static void decode(const uint8_t* block, int first, float* to) {
        const float d = half_at(block), m = half_at(block + 2);
        const uint8_t *bits = block + 4, *codes = block + 8 + first % 16;
        const int shift = first < 16 ? 0 : 4;
        for (int i = 0; i < N; ++i) {
            const int code = four_bits(codes[i], shift) | fifth_bit(bits, first + i);
            to[i] = sum(product(static_cast<float>(code), d), m);
        }
    }
};

struct Iq4Nl {
    static constexpr int kElems = 32, kBytes = 18;
    // -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113, a byte each, the first one lowest.
    static constexpr uint64_t kLow = 0xf6eaddcfbfad9881u, kHigh = 0x7159453526190d01u;
    GGQ_SHARED static int level(int code) {
        return static_cast<int8_t>((code < 8 ? kLow : kHigh) >> (code % 8 * 8) & 255u);
    }
    template <int N>
    GGQ_SHARED static void decode(const uint8_t* block, int first, float* to) {
        const float d = half_at(block);
        const uint8_t* codes = block + 2 + first % 16;
        const int shift = first < 16 ? 0 : 4;
        for (int i = 0; i < N; ++i) to[i] = product(static_cast<float>(level(four_bits(codes[i], shift))), d);
    }
};

// Scale and offset of the 32 weights `part` (0 to 7) of a block of q4_k or q5_k, times d and dmin: of the 12 bytes, the
// lower 6 bits of four and four bytes are those of parts 0 to 3, and the rest holds parts 4 to 7.
struct ScaleAndOffset {
    float scale, offset;

    GGQ_SHARED ScaleAndOffset(const uint8_t* block, int part) {
        const uint8_t *low = block + 4 + part % 4, *high = low + 4, *rest = low + 8;
        const int s = part < 4 ? *low & 63 : (*rest & 15) | *low >> 6 << 4;
        const int o = part < 4 ? *high & 63 : *rest >> 4 | *high >> 6 << 4;
        scale = product(half_at(block), static_cast<float>(s));
        offset = product(half_at(block + 2), static_cast<float>(o));
    }
};

struct Q4K {
    static constexpr int kElems = 256, kBytes = 144;
    template <int N>
    GGQ_SHARED static void decode(const uint8_t* block, int first, float* to) {
        const int part = first / 32, shift = part % 2 * 4;
        const ScaleAndOffset by(block, part);
        const uint8_t* codes = block + 16 + part / 2 * 32 + first % 32;
        for (int i = 0; i < N; ++i)
            to[i] = sum(product(static_cast<float>(four_bits(codes[i], shift)), by.scale), -by.offset);
    }
};

struct Q5K {
    static constexpr int kElems = 256, kBytes = 176;
    template <int N>
    GGQ_SHARED static void decode(const uint8_t* block, int first, float* to) {
        const int part = first / 32, shift = part % 2 * 4;
        const ScaleAndOffset by(block, part);
        const uint8_t *bits = block + 16 + first % 32, *codes = block + 48 + part / 2 * 32 + first % 32;
        for (int i = 0; i < N; ++i) {
            const int code = four_bits(codes[i], shift) | (bits[i] >> part & 1) << 4;
            to[i] = sum(product(static_cast<float>(code), by.scale), -by.offset);
        }
    }
};

// Of each 128 weights, 64 bytes have the lower bits: byte i those of weight i below and of 64 + i above; 32 bytes the
// upper ones: byte i those of weights i, 32 + i, 64 + i and 96 + i, from below.
struct Q6K {
    static constexpr int kElems = 256, kBytes = 210;
    template <int N>
    GGQ_SHARED static void decode(const uint8_t* block, int first, float* to) {
        const int half = first / 128, quarter = first % 128 / 32, at = first % 32;
        const uint8_t *low = block + half * 64 + quarter % 2 * 32 + at, *high = block + 128 + half * 32 + at;
        const auto scale = static_cast<float>(static_cast<int8_t>(block[192 + first / 16]));
        const float d = product(half_at(block + 208), scale);
        const int shift = quarter < 2 ? 0 : 4, high_shift = 2 * quarter;
        for (int i = 0; i < N; ++i) {
            const int code = four_bits(low[i], shift) | (high[i] >> high_shift & 3) << 4;
            to[i] = product(static_cast<float>(code - 32), d);
        }
    }
};

// Calls f, of the host or of a card as its caller, with the format of a dtype that is packed (kernels/formats.h).
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
template <typename F>
GGQ_SHARED void with_format(DType dtype, const F& f) {
    switch (dtype) {
        case DType::q8_0: return f(Q8_0{});
        case DType::q4_0: return f(Q4_0{});
        case DType::q4_1: return f(Q4_1{});
        case DType::q5_0: return f(Q5_0{});
        case DType::q5_1: return f(Q5_1{});
        case DType::q4_k: return f(Q4K{});
        case DType::q5_k: return f(Q5K{});
        case DType::q6_k: return f(Q6K{});
        case DType::iq4_nl: return f(Iq4Nl{});
        default: return;
    }
}

// to[N] = weights at .. at + N - 1 of a tensor; N is 8 or 16 and divides `at`.
template <typename Format, int N>
GGQ_SHARED void decode_run(const uint8_t* blocks, int64_t at, float* to) {
    const int64_t block = at / Format::kElems;
    Format::template decode<N>(blocks + block * Format::kBytes, static_cast<int>(at - block * Format::kElems), to);
}

}  // namespace ggq::gguf
