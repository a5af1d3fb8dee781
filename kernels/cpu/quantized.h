// Reading quantized weights: a run of consecutive weights of the flattened tensor, decoded to float exactly as
// dequantization gives them (level * scale, one rounding), whatever block borders or odd beginnings it crosses.
//
// 4-bit codes are looked up in registers: the 16 levels are multiplied by the block's scale once, then each vector of
// codes permutes that table (avx512: one permute of 16 lanes; avx2: two of 8 lanes and a blend; portable: plain loads).
#pragma once

#include "kernels/code_maps.h"
#include "kernels/cpu/vec.h"
#include "kernels/formats.h"
#include "kernels/gguf_blocks.h"

namespace ggq::cpu::GGQ_ISA {

typedef uint32_t CodeVec __attribute__((vector_size(kVecBytes)));  // a code in the low four bits of each lane

// A table of 16 floats: the levels of a format times a scale, each product rounded to float.
struct LevelTable {
#if defined(__AVX512F__)
    __m512 all;
    GGQ_INLINE LevelTable(const float* levels, float scale)
        : all(_mm512_mul_ps(_mm512_loadu_ps(levels), _mm512_set1_ps(scale))) {}
    // Masked forms with all lanes set, for the plain ones of g++ 12 warn of their own undefined operand.
    GGQ_INLINE Vec<float> at(CodeVec codes) const {
        return (Vec<float>)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)codes, all);
    }
    // 16 codes in order: each half's 4 bytes are broadcast, then every lane is shifted to its own nibble.
    GGQ_INLINE Vec<float> decode(const uint8_t* codes) const {
        int32_t low, high;
        std::memcpy(&low, codes, 4);
        std::memcpy(&high, codes + 4, 4);
        const __m512i bytes = _mm512_mask_set1_epi32(_mm512_set1_epi32(low), 0xff00, high);
        const __m512i shifts = _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24);
        return at((CodeVec)_mm512_maskz_srlv_epi32(0xffff, bytes, shifts));
    }
#elif defined(__AVX2__)
    __m256 low, high;
    GGQ_INLINE LevelTable(const float* levels, float scale)
        : low(_mm256_mul_ps(_mm256_loadu_ps(levels), _mm256_set1_ps(scale))),
          high(_mm256_mul_ps(_mm256_loadu_ps(levels + 8), _mm256_set1_ps(scale))) {}
    // The low three bits look up both halves of the table, the fourth chooses between them.
    GGQ_INLINE Vec<float> at(CodeVec codes) const {
        const auto index = (__m256i)codes;
        const __m256 fourth_bit = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
        return (Vec<float>)_mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index), _mm256_permutevar8x32_ps(high, index),
                                            fourth_bit);
    }
    GGQ_INLINE Vec<float> decode(const uint8_t* codes) const {
        int32_t four;
        std::memcpy(&four, codes, 4);
        const __m256i shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
        return at((CodeVec)_mm256_srlv_epi32(_mm256_set1_epi32(four), shifts));
    }
#else
    float all[16];
    GGQ_INLINE LevelTable(const float* levels, float scale) {
        for (int i = 0; i < 16; ++i) all[i] = levels[i] * scale;
    }
    GGQ_INLINE Vec<float> at(CodeVec codes) const {
        return Vec<float>{all[codes[0] & 15], all[codes[1] & 15], all[codes[2] & 15], all[codes[3] & 15]};
    }
    GGQ_INLINE Vec<float> decode(const uint8_t* codes) const {
        return Vec<float>{all[codes[0] >> 4], all[codes[0] & 15], all[codes[1] >> 4], all[codes[1] & 15]};
    }
#endif
};

// Product and sum are rounded apart (the build does not contract), as bitsandbytes restores a nested scale.
GGQ_INLINE float block_scale(const QuantParts& q, int64_t block) {
    if (q.scales) return q.scales[block];
    return kSignedMap.data()[q.scale_codes[block]] * q.nested[block / kNestedBlock] + *q.offset;
}

// scales[n] of the blocks from `first` on.
inline void restore_scales(const QuantParts& q, int64_t first, int64_t n, float* scales) {
    if (q.scales) {
        std::memcpy(scales, q.scales + first, static_cast<size_t>(n) * sizeof(float));
        return;
    }
    const float *map = kSignedMap.data(), offset = *q.offset;
    for (int64_t i = first; i < first + n;) {
        const int64_t nested_end = (i / kNestedBlock + 1) * kNestedBlock;
        const int64_t end = nested_end < first + n ? nested_end : first + n;
        const float nested = q.nested[i / kNestedBlock];
        for (int64_t j = i; j < end; ++j) scales[j - first] = map[q.scale_codes[j]] * nested + offset;
        i = end;
    }
}

GGQ_INLINE int code_at(const uint8_t* codes, int64_t i) { return i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15; }

// Weights [begin, end) of one block.
GGQ_INLINE void decode_within_block(const uint8_t* codes, const float* levels, float scale, int64_t begin, int64_t end,
                                    float* dst) {
    const LevelTable scaled(levels, scale);
    int64_t i = begin;
    if (i % 2 != 0 && i < end) *dst++ = levels[code_at(codes, i++)] * scale;
    for (const uint8_t* at = codes + i / 2; i + kLanes<float> <= end; i += kLanes<float>) {
        store(dst, scaled.decode(at));
        at += kLanes<float> / 2;
        dst += kLanes<float>;
    }
    for (; i < end; ++i) *dst++ = levels[code_at(codes, i)] * scale;
}

inline void decode_4bit(const QuantParts& q, const float* levels, int64_t begin, int64_t n, float* dst) {
    const int shift = block_shift(q);
    for (int64_t i = begin; i < begin + n;) {
        const int64_t block = i >> shift, block_end = (block + 1) << shift;
        const int64_t end = block_end < begin + n ? block_end : begin + n;
        decode_within_block(q.codes, levels, block_scale(q, block), i, end, dst + (i - begin));
        i = end;
    }
}

inline void decode_int8(const QuantParts& q, int64_t begin, int64_t n, float* dst) {
    const auto* codes = reinterpret_cast<const int8_t*>(q.codes);
    for (int64_t i = begin; i < begin + n;) {
        const int64_t row = i / q.block, row_end = (row + 1) * q.block;
        const int64_t end = row_end < begin + n ? row_end : begin + n;
        const float scale = q.scales[row] / 127.0f;
        for (int64_t j = i; j < end; ++j) dst[j - begin] = static_cast<float>(codes[j]) * scale;
        i = end;
    }
}

// Blocks that hold their scales, in runs of 16 weights: whole ones in place, of those at the ends a part.
template <typename Format>
inline void decode_packed(const uint8_t* blocks, int64_t begin, int64_t n, float* dst) {
    constexpr int kRun = 16;
    const int64_t end = begin + n;
    for (int64_t i = begin; i < end;) {
        const int64_t run = i / kRun * kRun, run_end = run + kRun < end ? run + kRun : end;
        float* to = dst + (i - begin);
        if (i == run && run_end == run + kRun) {
            gguf::decode_run<Format, kRun>(blocks, run, to);
        } else {
            float whole[kRun];
            gguf::decode_run<Format, kRun>(blocks, run, whole);
            std::memcpy(to, whole + (i - run), static_cast<size_t>(run_end - i) * sizeof(float));
        }
        i = run_end;
    }
}

// dst[n] = weights begin .. begin + n - 1 of the flattened tensor.
inline void decode(const QuantParts& q, DType dtype, int64_t begin, int64_t n, float* dst) {
    if (format(dtype).packed())
        gguf::with_format(dtype, [&](auto f) { decode_packed<decltype(f)>(q.codes, begin, n, dst); });
    else if (const auto* levels = format(dtype).levels) decode_4bit(q, levels->data(), begin, n, dst);
    else decode_int8(q, begin, n, dst);
}

}  // namespace ggq::cpu::GGQ_ISA
