// Which elements dropout keeps: a pure function of (seed, counter, site, position), so that forward, backward and a
// recomputed forward agree without a stored mask.
//   keep(i) = uniform(word i % 4 of philox(seed, counter << 32 | site, (first + i) / 4)) >= p; what stays is scaled by
//   1 / (1 - p)
#pragma once

#include "kernels/cpu/philox_lanes.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

struct DropoutMask {
    uint64_t seed = 0, stream = 0, first_group = 0;
    float p = 0;
};

// rng[2] i64 {seed, counter}
GGQ_INLINE DropoutMask dropout_mask(const View& rng, const DropoutParams& params) {
    const auto* r = rng.as<int64_t>();
    return {static_cast<uint64_t>(r[0]), static_cast<uint64_t>(r[1]) << 32 | params.site,
            static_cast<uint64_t>(params.first) / 4, params.p};
}

inline constexpr int kMaskRun = 64;

// The smallest 24 bits that uniform() makes p or more of; as numbers of 24 bits are exact in float, so is this.
GGQ_INLINE uint32_t smallest_kept(float p) {
    const double bits = static_cast<double>(p) * 0x1p24;
    const auto below = static_cast<uint32_t>(bits);
    return below + (static_cast<double>(below) < bits ? 1 : 0);
}

// keep[i] = 1 where element begin + i stays, else 0; `begin` is a multiple of 4.
inline void keep_run(const DropoutMask& mask, int64_t begin, uint8_t* keep) {
    constexpr int kGroups = 2, kPositions = kGroups * kWordLanes;
    static_assert(kMaskRun % (4 * kPositions) == 0 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
    const WordVec least = splat_word(smallest_kept(mask.p));
    const uint64_t first = mask.first_group + static_cast<uint64_t>(begin) / 4;
    for (int at = 0; at < kMaskRun; at += 4 * kPositions) {
        PhiloxLanes lanes[kGroups];
        philox_lanes<kGroups>(mask.seed, mask.stream, first + static_cast<uint64_t>(at / 4), lanes);
        for (int g = 0; g < kGroups; ++g) {
            // Less than the least kept: the difference is negative.
            WordVec gone{};
#pragma GCC unroll 4
            for (int w = 0; w < 4; ++w) {
                const WordVec bits = (lanes[g].word[w] & 0xffffffffu) >> 8;
                gone |= ((bits - least) >> 31 & 1) << 8 * w;
            }
            const WordVec four = gone ^ 0x01010101u;  // elements of a position, a byte each
            uint32_t bytes[kWordLanes];
#pragma GCC unroll 8
            for (int i = 0; i < kWordLanes; ++i) bytes[i] = static_cast<uint32_t>(four[i]);
            std::memcpy(keep + at + 4 * g * kWordLanes, bytes, sizeof bytes);
        }
    }
}

// keep[n] = 1 where element begin + i stays, else 0, whatever `begin` is.
inline void keep_elements(const DropoutMask& mask, int64_t begin, int64_t n, uint8_t* keep) {
    for (int64_t i = 0; i < n;) {
        const int64_t skip = (begin + i) % 4, room = kMaskRun - skip;
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
    if (add)
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) to[j] += keep[j] ? from[j] * kept : T{0};
    else
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) to[j] = keep[j] ? from[j] * kept : T{0};
}

// to[i] = keep(begin + i) ? from[i] / (1 - p) : 0. In place is fine.
template <typename T>
inline void apply_mask(const DropoutMask& mask, int64_t begin, int64_t n, const T* from, T* to) {
    uint8_t keep[kMaskRun];
    for (int64_t i = 0; i < n;) {
        const int64_t skip = (begin + i) % 4, room = kMaskRun - skip;
        const int64_t count = n - i < room ? n - i : room;
        keep_run(mask, begin + i - skip, keep);
        apply_kept(keep + skip, mask.p, count, from + i, to + i, false);
        i += count;
    }
}

}  // namespace ggq::cpu::GGQ_ISA
