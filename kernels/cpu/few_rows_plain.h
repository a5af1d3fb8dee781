// Rows of weights in bf16, f32 and int8 as readers of few_rows_groups.h.
#pragma once

#include "kernels/cpu/few_rows_groups.h"

namespace ggq::cpu::GGQ_ISA {

// What the three share: elements E one after the other.
template <typename E, int Vecs>
struct PlainRow {
    static constexpr int kVecs = Vecs, kGroup = kVecs * kLanes<float>;
    struct Tail {
        E data[kGroup];
    };

    const E* data;

    static constexpr int source(int i) { return i; }
    GGQ_INLINE void prefetch(int64_t at) const {
        const auto* bytes = reinterpret_cast<const char*>(data + at);
#pragma GCC unroll 4
        for (int64_t i = 0; i < static_cast<int64_t>(kGroup * sizeof(E)); i += 64)
            __builtin_prefetch(bytes + i + kPrefetchBytes);
    }
    GGQ_INLINE Vec<float> add(Vec<float> sum, Vec<float> part, int64_t) const { return sum + part; }
    const E* tail_of(int64_t at, int64_t n, Tail& to) const {
        std::memset(&to, 0, sizeof to);
        std::memcpy(to.data, data + at, static_cast<size_t>(n) * sizeof(E));
        return to.data;
    }
};

struct F32Row : PlainRow<float, 4> {
    GGQ_INLINE void read(int64_t at, Vec<float>* w) const {
        for (int j = 0; j < kVecs; ++j) w[j] = load(data + at + j * kLanes<float>);
    }
    F32Row tail(int64_t at, int64_t n, Tail& to) const { return {{tail_of(at, n, to)}}; }
};

// Two weights a word: the even ones shifted into place, then the odd ones with the others masked off.
struct Bf16Row : PlainRow<bf16, 4> {
    static constexpr int source(int i) {
        constexpr int kPair = 2 * kLanes<float>;
        return i / kPair * kPair + i % kLanes<float> * 2 + i % kPair / kLanes<float>;
    }
    GGQ_INLINE void read(int64_t at, Vec<float>* w) const {
        for (int j = 0; j < kVecs; j += 2) {
            CodeVec words;
            std::memcpy(&words, data + at + j * kLanes<float>, sizeof words);
            w[j] = (Vec<float>)(words << 16u);
            w[j + 1] = (Vec<float>)(words & 0xffff0000u);
        }
    }
    Bf16Row tail(int64_t at, int64_t n, Tail& to) const { return {{tail_of(at, n, to)}}; }
};

GGQ_INLINE Vec<float> eight_bit_codes(const int8_t* codes) {
#if defined(__AVX512F__)
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
    return (Vec<float>)_mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, bytes));
#elif defined(__AVX2__)
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes));
    return (Vec<float>)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
#else
    return Vec<float>{static_cast<float>(codes[0]), static_cast<float>(codes[1]), static_cast<float>(codes[2]),
                      static_cast<float>(codes[3])};
#endif
}

struct Int8Row : PlainRow<int8_t, kVecBytes == 64 ? 4 : 8> {
    float scale;  // of the row, 1 / 127 included

    GGQ_INLINE void read(int64_t at, Vec<float>* w) const {
        for (int j = 0; j < kVecs; ++j) w[j] = eight_bit_codes(data + at + j * kLanes<float>);
    }
    GGQ_INLINE Vec<float> add(Vec<float> sum, Vec<float> part, int64_t) const {
        return madd<float>(part, splat(scale), sum);
    }
    Int8Row tail(int64_t at, int64_t n, Tail& to) const { return {{tail_of(at, n, to)}, scale}; }
};

// The reader of row `row` of w from element `begin` on.
template <typename Reader>
GGQ_INLINE Reader plain_row(const Operand& w, int64_t row, int64_t begin) {
    const int64_t at = w.offset(row, begin);
    if constexpr (std::is_same_v<Reader, Int8Row>)
        return {{reinterpret_cast<const int8_t*>(w.quant.codes) + at}, w.quant.scales[at / w.quant.block] / 127.0f};
    else if constexpr (std::is_same_v<Reader, Bf16Row>) return {{static_cast<const bf16*>(w.data) + at}};
    else return {{static_cast<const float*>(w.data) + at}};
}

// sums[m][n_cols] += x[m, begin .. begin + n - 1] times rows col .. col + n_cols - 1 of w.
template <typename Reader>
void few_dots_plain(const Operand& w, int64_t begin, int64_t n, int64_t col, int64_t n_cols, const float* x,
                    int64_t x_stride, int64_t m, Vec<float>* sums) {
    Reader rows[kFewCols];
    for (int64_t c = 0; c < n_cols; ++c) rows[c] = plain_row<Reader>(w, col + c, begin);
    dot_columns(rows, n_cols, x, x_stride, n, m, sums);
}

}  // namespace ggq::cpu::GGQ_ISA
