// Philox4x32-10, a counter-based random generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
// The same (key, counter) gives the same four words on every backend, in any order: what is random in ggq (initial
// values, dropout, shuffling, sampling) is a pure function of a seed and a position.
#pragma once

#include <cstdint>

#include "kernels/host_device.h"

namespace ggq {

inline constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier1 = 0xCD9E8D57u,
                          kPhiloxKeyStep0 = 0x9E3779B9u, kPhiloxKeyStep1 = 0xBB67AE85u;

struct Philox4 {
    uint32_t word[4];
};

// `stream` names what the numbers are for (an op's site, a tensor), `position` the place within it.
GGQ_HOST_DEVICE inline __attribute__((always_inline)) Philox4 philox4x32(uint64_t seed, uint64_t stream,
                                                                         uint64_t position) {
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    uint32_t c0 = static_cast<uint32_t>(position), c1 = static_cast<uint32_t>(position >> 32);
    uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64_t p0 = uint64_t{kPhiloxMultiplier0} * c0;
        const uint64_t p1 = uint64_t{kPhiloxMultiplier1} * c2;
        c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
        c1 = static_cast<uint32_t>(p1);
        c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
        c3 = static_cast<uint32_t>(p0);
        k0 += kPhiloxKeyStep0;
        k1 += kPhiloxKeyStep1;
    }
    return {{c0, c1, c2, c3}};
}

// One of the eight halves of a position's words, the low one of a word first.
GGQ_HOST_DEVICE inline uint32_t half(const Philox4& r, int i) { return r.word[i / 2] >> (16 * (i % 2)) & 0xffff; }

// Uniform in [0, 1) with 24 bits, exact in float.
GGQ_HOST_DEVICE inline float uniform(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}  // namespace ggq
