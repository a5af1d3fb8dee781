// Philox4x32-10 (kernels/philox.h) for as many positions at once as a register has lanes of 64 bits. A word lies in the
// low half of its lane and anything in the high half, which no product looks at: a round is two products, two shifts
// and four exclusive ors, and nothing is moved between lanes.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/philox.h"

namespace ggq::cpu::GGQ_ISA {

typedef uint64_t WordVec __attribute__((vector_size(kVecBytes)));  // a word in the low 32 bits of each lane
inline constexpr int kWordLanes = kVecBytes / 8;

// The product of the low halves.
GGQ_INLINE WordVec multiply_words(WordVec a, WordVec b) {
#if defined(__AVX512F__)
    return (WordVec)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (WordVec)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#else
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

GGQ_INLINE WordVec splat_word(uint64_t word) { return word + WordVec{}; }

struct PhiloxLanes {
    WordVec word[4];
};

// The words of positions first, first + 1, ...; `Groups` registers full of them, which hide each other's latency.
template <int Groups>
GGQ_INLINE void philox_lanes(uint64_t seed, uint64_t stream, uint64_t first, PhiloxLanes* out) {
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 4
    for (int g = 0; g < Groups; ++g) {
        WordVec position{};
        for (int i = 0; i < kWordLanes; ++i) position[i] = first + static_cast<uint64_t>(g * kWordLanes + i);
        out[g] = {{position, position >> 32, splat_word(stream), splat_word(stream >> 32)}};
    }
    const WordVec m0 = splat_word(kPhiloxMultiplier0), m1 = splat_word(kPhiloxMultiplier1);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
        const WordVec key0 = splat_word(k0), key1 = splat_word(k1);
#pragma GCC unroll 4
        for (int g = 0; g < Groups; ++g) {
            WordVec* c = out[g].word;
            const WordVec p0 = multiply_words(m0, c[0]), p1 = multiply_words(m1, c[2]);
            c[0] = (p1 >> 32) ^ c[1] ^ key0;
            c[1] = p1;
            c[2] = (p0 >> 32) ^ c[3] ^ key1;
            c[3] = p0;
        }
        k0 += kPhiloxKeyStep0;
        k1 += kPhiloxKeyStep1;
    }
}

}  // namespace ggq::cpu::GGQ_ISA
