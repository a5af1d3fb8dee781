// A row of a 4-bit weight as a reader of few_rows_groups.h: kGroup codes of one block.
//
//   avx512     16 words of four codes, shifted by 4 j bits, look up all 16 levels: a shift and a permute for a vector
//   avx2       the codes of 32 bytes look up the four bytes of a level in turn, and two rounds of interleaving make
//              floats of them: 3 shuffles for a vector, where looking up both halves of a table of floats and choosing
//              takes 5 instructions
//   portable   words of eight codes, shifted
// The levels are exact; a group's sum is multiplied by its scale at the end.
#pragma once

#include "kernels/cpu/few_rows_groups.h"

namespace ggq::cpu::GGQ_ISA {

// The 16 levels as read() wants them.
#if defined(__AVX2__) && !defined(__AVX512F__)
struct LevelBytes {
    __m256i byte[4];  // of every level, in both halves
    explicit LevelBytes(const float* levels) {
        const __m128i apart = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        __m128i four[4];  // levels: their first bytes, their second ones, ...
        for (int i = 0; i < 4; ++i)
            four[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(levels + 4 * i)), apart);
        const __m128i low = _mm_unpacklo_epi32(four[0], four[1]), low2 = _mm_unpacklo_epi32(four[2], four[3]);
        const __m128i high = _mm_unpackhi_epi32(four[0], four[1]), high2 = _mm_unpackhi_epi32(four[2], four[3]);
        byte[0] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(low, low2));
        byte[1] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(low, low2));
        byte[2] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(high, high2));
        byte[3] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(high, high2));
    }
    // w[4] = the levels of 32 codes; of each half its bytes 4 j to 4 j + 3 in vector j.
    GGQ_INLINE void look_up(__m256i codes, Vec<float>* w) const {
        const __m256i b0 = _mm256_shuffle_epi8(byte[0], codes), b1 = _mm256_shuffle_epi8(byte[1], codes);
        const __m256i b2 = _mm256_shuffle_epi8(byte[2], codes), b3 = _mm256_shuffle_epi8(byte[3], codes);
        const __m256i low = _mm256_unpacklo_epi8(b0, b1), high = _mm256_unpacklo_epi8(b2, b3);
        const __m256i low2 = _mm256_unpackhi_epi8(b0, b1), high2 = _mm256_unpackhi_epi8(b2, b3);
        w[0] = (Vec<float>)_mm256_unpacklo_epi16(low, high);
        w[1] = (Vec<float>)_mm256_unpackhi_epi16(low, high);
        w[2] = (Vec<float>)_mm256_unpacklo_epi16(low2, high2);
        w[3] = (Vec<float>)_mm256_unpackhi_epi16(low2, high2);
    }
};
using FewLevels = LevelBytes;
#else
struct FewLevels : LevelTable {
    explicit FewLevels(const float* levels) : LevelTable(levels, 1.0f) {}
};
#endif

struct FourBitRow {
#if defined(__AVX512F__)
    static constexpr int kVecs = 4;  // of codes in a word
#else
    static constexpr int kVecs = 8;
#endif
    static constexpr int kGroup = kVecs * kLanes<float>;
    struct Tail {};

    const FewLevels* levels;
    const uint8_t* codes;
    const float* scales;
    int shift;  // a scale is of 2^shift weights

    static constexpr int source(int i) {
        const int j = i / kLanes<float>, lane = i % kLanes<float>;
#if defined(__AVX2__) && !defined(__AVX512F__)
        return 2 * (16 * (lane / 4) + 4 * (j % 4) + lane % 4) + j / 4;
#else
        return kVecs * lane + (j ^ 1);  // the first of two codes is the high one
#endif
    }
    GGQ_INLINE void read(int64_t at, Vec<float>* w) const {
#if defined(__AVX2__) && !defined(__AVX512F__)
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + at / 2));
        const __m256i low = _mm256_set1_epi8(15);
        levels->look_up(_mm256_and_si256(_mm256_srli_epi16(bytes, 4), low), w);
        levels->look_up(_mm256_and_si256(bytes, low), w + 4);
#else
#if defined(__AVX512F__)
        const auto words = (CodeVec)_mm512_maskz_cvtepu16_epi32(
            0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + at / 2)));
#else
        CodeVec words;
        std::memcpy(&words, codes + at / 2, sizeof words);
#endif
#pragma GCC unroll 8
        for (int j = 0; j < kVecs; ++j) w[j] = levels->at(words >> static_cast<uint32_t>(4 * j));
#endif
    }
    GGQ_INLINE void prefetch(int64_t at) const { __builtin_prefetch(codes + at / 2 + kPrefetchBytes); }
    GGQ_INLINE Vec<float> add(Vec<float> sum, Vec<float> part, int64_t at) const {
        return madd<float>(part, splat(scales[at >> shift]), sum);
    }
    FourBitRow tail(int64_t, int64_t, Tail&) const { return *this; }  // there is none
};

// Whether rows of w[.., k] are whole blocks, which hold whole groups.
GGQ_INLINE bool has_whole_blocks(const Operand& w, int64_t k) {
    return info(w.dtype).quantized && format(w.dtype).levels && k % w.quant.block == 0;
}

// Scales come from a stream of their own, asked for as many rows ahead.
GGQ_INLINE void prefetch_scales(const QuantParts& q, int64_t first, int64_t n) {
    if (q.scales)
        for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(q.scales + first + i);
    else
        for (int64_t i = 0; i < n; i += 64) __builtin_prefetch(q.scale_codes + first + i);
}

// What all rows of w[.., k] share.
struct FourBitTerm {
    const Operand* w = nullptr;
    int64_t k = 0;
    int shift = 0;
    FewLevels levels{kNf4Levels.data()};
};

inline FourBitTerm four_bit_term(const Operand& w, int64_t k) {
    return {&w, k, block_shift(w.quant), FewLevels(format(w.dtype).levels->data())};
}

// sums[m][n_cols] += x[m, begin .. begin + n - 1] times rows col .. col + n_cols - 1 of w.
inline void few_dots_4bit(const FourBitTerm& t, int64_t begin, int64_t n, int64_t col, int64_t n_cols, const float* x,
                          int64_t x_stride, int64_t m, Vec<float>* sums) {
    float scales[kFewCols * kFewPiece / 64];
    FourBitRow rows[kFewCols];
    const QuantParts& q = t.w->quant;
    const int64_t n_blocks = n >> t.shift, first = t.w->offset(col, begin), row_blocks = t.w->row_stride >> t.shift;
    const int64_t block = first >> t.shift;
    if (n == t.k) restore_scales(q, block, n_cols * n_blocks, scales);  // rows follow each other
    else
        for (int64_t c = 0; c < n_cols; ++c) restore_scales(q, block + c * row_blocks, n_blocks, scales + c * n_blocks);
    for (int64_t c = 0; c < n_cols; ++c) {
        prefetch_scales(q, block + c * row_blocks + (8 * kPrefetchBytes >> t.shift), n_blocks);
        rows[c] = {&t.levels, q.codes + (first + c * t.w->row_stride) / 2, scales + c * n_blocks, t.shift};
    }
    dot_columns(rows, n_cols, x, x_stride, n, m, sums);
}

}  // namespace ggq::cpu::GGQ_ISA
