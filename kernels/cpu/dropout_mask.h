// Which elements dropout keeps: a pure function of (seed, counter, site, position), so that forward, backward and a
// recomputed forward agree without a stored mask. 16 random bits an element:
//   keep(i) = 16-bit half i % 8 of philox(seed, counter << 32 | site, (first + i) / 8) >= 65536 p, rounded; the low half
//   of a word comes first; what stays is scaled by 1 / (1 - p)
#pragma once

#include "kernels/cpu/real.h"
#include "kernels/params.h"
#include "kernels/philox.h"

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
__attribute__((flatten)) inline void keep_run(const DropoutMask& mask, int64_t begin, uint8_t* keep) {
    constexpr int kPositions = kMaskRun / kMaskGroup;
    uint32_t word[4][kPositions];
    const uint64_t first = mask.first_group + static_cast<uint64_t>(begin) / kMaskGroup;
#pragma omp simd
    for (int i = 0; i < kPositions; ++i) {
        const Philox4 r = philox4x32(mask.seed, mask.stream, first + static_cast<uint64_t>(i));
        word[0][i] = r.word[0];
        word[1][i] = r.word[1];
        word[2][i] = r.word[2];
        word[3][i] = r.word[3];
    }
    for (int i = 0; i < kPositions; ++i)
        for (int w = 0; w < 4; ++w) {
            keep[kMaskGroup * i + 2 * w] = (word[w][i] & 0xffff) >= mask.threshold;
            keep[kMaskGroup * i + 2 * w + 1] = word[w][i] >> 16 >= mask.threshold;
        }
}

// to[i] = keep(begin + i) ? from[i] / (1 - p) : 0, or with `add` to[i] += that. In place is fine.
template <typename T>
inline void apply_mask(const DropoutMask& mask, int64_t begin, int64_t n, const T* from, T* to, bool add = false) {
    const T kept = T{1} / (T{1} - static_cast<T>(mask.p));
    uint8_t keep[kMaskRun];
    for (int64_t i = 0; i < n;) {
        const int64_t skip = (begin + i) % kMaskGroup, room = kMaskRun - skip;
        const int64_t count = n - i < room ? n - i : room;
        keep_run(mask, begin + i - skip, keep);
        for (int64_t j = 0; j < count; ++j) {
            const T value = keep[skip + j] ? from[i + j] * kept : T{0};
            to[i + j] = add ? to[i + j] + value : value;
        }
        i += count;
    }
}

}  // namespace ggq::cpu::GGQ_ISA
