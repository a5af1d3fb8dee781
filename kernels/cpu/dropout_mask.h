// Which elements dropout keeps: a pure function of (seed, counter, site, position), so that forward, backward and a
// recomputed forward agree without a stored mask. 16 random bits an element:
//   keep(i) = 16-bit half i % 8 of philox(seed, counter << 32 | site, (first + i) / 8) >= 65536 p, rounded; the low
//   half of a word comes first; what stays is scaled by 1 / (1 - p)
#pragma once

#include "kernels/cpu/philox_lanes.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

struct DropoutMask {
    uint64_t seed = 0, stream = 0, first_group = 0;
    uint32_t threshold = 0;
    float p = 0;
};

// rng[2] i64 {seed, counter}
GGQ_INLINE DropoutMask dropout_mask(const View& rng, const DropoutParams& params) {
    const auto* r = rng.as<int64_t>();
    return {static_cast<uint64_t>(r[0]), static_cast<uint64_t>(r[1]) << 32 | params.site,
            static_cast<uint64_t>(params.first) / kMaskGroup, params.threshold(), params.p};
}

inline constexpr int kMaskRun = 128;

// keep[i] = 1 where element begin + i stays, else 0; `begin` is a multiple of kMaskGroup.
inline void keep_run(const DropoutMask& mask, int64_t begin, uint8_t* keep) {
    constexpr int kGroups = 2, kPositions = kGroups * kWordLanes;
    static_assert(kMaskRun % (kMaskGroup * kPositions) == 0 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ &&
                  sizeof(WordVec) == kMaskGroup * kWordLanes);
    const WordVec least = splat_word(mask.threshold);
    const uint64_t first = mask.first_group + static_cast<uint64_t>(begin) / kMaskGroup;
    for (int at = 0; at < kMaskRun; at += kMaskGroup * kPositions) {
        PhiloxLanes lanes[kGroups];
        philox_lanes<kGroups>(mask.seed, mask.stream, first + static_cast<uint64_t>(at / kMaskGroup), lanes);
        for (int g = 0; g < kGroups; ++g) {
            // Less than the least kept: the difference is negative.
            WordVec gone{};
#pragma GCC unroll 4
            for (int w = 0; w < 4; ++w) {
                const WordVec word = lanes[g].word[w] & 0xffffffffu;
                gone |= (((word & 0xffffu) - least) >> 63) << 16 * w;
                gone |= (((word >> 16) - least) >> 63) << (16 * w + 8);
            }
            const WordVec kept = gone ^ 0x0101010101010101u;  // elements of a position, a byte each
            std::memcpy(keep + at + kMaskGroup * g * kWordLanes, &kept, sizeof kept);
        }
    }
}

// keep[n] = 1 where element begin + i stays, else 0, whatever `begin` is.
inline void keep_elements(const DropoutMask& mask, int64_t begin, int64_t n, uint8_t* keep) {
    for (int64_t i = 0; i < n;) {
        const int64_t skip = (begin + i) % kMaskGroup, room = kMaskRun - skip;
        const int64_t count = n - i < room ? n - i : room;
        if (count == kMaskRun) keep_run(mask, begin + i, keep + i);
        else {
            uint8_t run[kMaskRun];
            keep_run(mask, begin + i - skip, run);
            std::memcpy(keep + i, run + skip, static_cast<size_t>(count));
        }
        i += count;
    }
}

// to[i] = keep[i] ? from[i] / (1 - p) : 0, or with `add` to[i] += that. In place is fine.
template <typename T>
GGQ_INLINE void apply_kept(const uint8_t* keep, float p, int64_t n, const T* from, T* to, bool add) {
    const T kept = T{1} / (T{1} - static_cast<T>(p));
    if (add) {
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) to[j] += keep[j] ? from[j] * kept : T{0};
        return;
    }
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) to[j] = keep[j] ? from[j] * kept : T{0};
}

// to[i] = keep(begin + i) ? from[i] / (1 - p) : 0. In place is fine.
template <typename T>
inline void apply_mask(const DropoutMask& mask, int64_t begin, int64_t n, const T* from, T* to) {
    uint8_t keep[kMaskRun];
    for (int64_t i = 0; i < n;) {
        const int64_t skip = (begin + i) % kMaskGroup, room = kMaskRun - skip;
        const int64_t count = n - i < room ? n - i : room;
        keep_run(mask, begin + i - skip, keep);
        apply_kept(keep + skip, mask.p, count, from + i, to + i, false);
        i += count;
    }
}

}  // namespace ggq::cpu::GGQ_ISA
