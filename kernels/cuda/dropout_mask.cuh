// Which elements dropout keeps, as kernels/cpu/dropout_mask.h has it: a pure function of (seed, counter, site,
// position), of 16 random bits an element, so that one Philox serves a group of 8.
//   keep(i) = bits(i) >= threshold, threshold = round(p 65536); bits(i) are half number i % 8 of
//   philox(seed, counter << 32 | site, (first + i) / 8), half h being bits 16 (h % 2) and up of word h / 2;
//   what stays is scaled by 1 / (1 - p)
#pragma once

#include "kernels/params.h"
#include "kernels/philox.h"

namespace ggq::cuda {

// The part of a mask that is known on the host; passed to kernels by value.
struct DropoutScale {
    uint32_t threshold = 0;  // 0 to 65536
    float kept = 1;          // 1 / (1 - p)
    uint32_t site = 0;
    uint64_t first_group = 0;

    explicit DropoutScale(const DropoutParams& params)
        : threshold(params.threshold()),
          kept(1.0f / (1.0f - params.p)),
          site(params.site),
          first_group(static_cast<uint64_t>(params.first) / kMaskGroup) {}
};

struct DropoutMask {
    uint64_t seed, stream, first_group;
    uint32_t threshold;
    float kept;

    // rng[2] {seed, counter} in device memory, read when the kernel runs.
    __device__ __forceinline__ DropoutMask(const int64_t* rng, const DropoutScale& scale)
        : seed(static_cast<uint64_t>(rng[0])),
          stream(static_cast<uint64_t>(rng[1]) << 32 | scale.site),
          first_group(scale.first_group),
          threshold(scale.threshold),
          kept(scale.kept) {}

    // The random bits of the group of element i.
    __device__ __forceinline__ Philox4 bits(int64_t i) const {
        return philox4x32(seed, stream, first_group + static_cast<uint64_t>(i) / kMaskGroup);
    }

    __device__ __forceinline__ bool keeps_half(uint32_t word, int half) const {
        return (half == 0 ? word & 0xffffu : word >> 16) >= threshold;
    }

    // One element; where a group is wanted, the functions below are eight times as fast.
    __device__ __forceinline__ bool keeps(int64_t i) const {
        const Philox4 r = bits(i);
        const auto at = static_cast<int>(i % kMaskGroup), pair = at / 2;
        const uint32_t word = pair < 2 ? (pair == 0 ? r.word[0] : r.word[1]) : (pair == 2 ? r.word[2] : r.word[3]);
        return keeps_half(word, at % 2);
    }

    // Bit j says whether element i + j stays; i is a multiple of 8.
    __device__ __forceinline__ uint32_t kept_bits(int64_t i) const {
        const Philox4 r = bits(i);
        uint32_t kept = 0;
#pragma unroll
        for (int j = 0; j < kMaskGroup; ++j) kept |= (keeps_half(r.word[j / 2], j % 2) ? 1u : 0u) << j;
        return kept;
    }

    // x[8] of 16 bits each, elements i .. i + 7: what is dropped becomes 0; i is a multiple of 8.
    __device__ __forceinline__ void zero_dropped(int64_t i, uint4& x) const {
        const Philox4 r = bits(i);
        uint32_t* words[] = {&x.x, &x.y, &x.z, &x.w};
#pragma unroll
        for (int j = 0; j < 4; ++j)
            *words[j] &= (keeps_half(r.word[j], 0) ? 0xffffu : 0u) | (keeps_half(r.word[j], 1) ? 0xffff0000u : 0u);
    }

    // x[N] = elements i .. i + N - 1, masked and scaled; N is 4 or 8 and i a multiple of it.
    template <int N>
    __device__ __forceinline__ void apply(int64_t i, float (&x)[N]) const {
        static_assert(N == 4 || N == 8);
        const uint32_t stays = kept_bits(i / 8 * 8) >> (N == 4 ? i % 8 : 0);
#pragma unroll
        for (int j = 0; j < N; ++j) x[j] = (stays >> j & 1) != 0 ? x[j] * kept : 0.0f;
    }
};

}  // namespace ggq::cuda
