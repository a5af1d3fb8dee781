// Which elements dropout keeps, as kernels/cpu/dropout_mask.h has it: a pure function of (seed, counter, site,
// position).
//   keep(i) = uniform(word i % 4 of philox(seed, counter << 32 | site, (first + i) / 4)) >= p; what stays is scaled by
//   1 / (1 - p)
#pragma once

#include "kernels/params.h"
#include "kernels/philox.h"

namespace ggq::cuda {

// The part of a mask that is known on the host; passed to kernels by value.
struct DropoutScale {
    float p = 0, kept = 1;  // kept = 1 / (1 - p)
    uint32_t site = 0;
    uint64_t first_group = 0;  // of 4 elements

    explicit DropoutScale(const DropoutParams& params)
        : p(params.p),
          kept(1.0f / (1.0f - params.p)),
          site(params.site),
          first_group(static_cast<uint64_t>(params.first) / 4) {}
};

struct DropoutMask {
    uint64_t seed, stream, first_group;
    float p, kept;

    // rng[2] {seed, counter} in device memory, read when the kernel runs.
    __device__ __forceinline__ DropoutMask(const int64_t* rng, const DropoutScale& scale)
        : seed(static_cast<uint64_t>(rng[0])),
          stream(static_cast<uint64_t>(rng[1]) << 32 | scale.site),
          first_group(scale.first_group),
          p(scale.p),
          kept(scale.kept) {}

    // keep[4] of elements i .. i + 3, where i is a multiple of 4.
    __device__ __forceinline__ void keep(int64_t i, bool (&keep)[4]) const {
        const Philox4 r = philox4x32(seed, stream, first_group + static_cast<uint64_t>(i) / 4);
#pragma unroll
        for (int j = 0; j < 4; ++j) keep[j] = uniform(r.word[j]) >= p;
    }

    // x[N] = elements i .. i + N - 1, masked and scaled; i and N are multiples of 4.
    template <int N>
    __device__ __forceinline__ void apply(int64_t i, float (&x)[N]) const {
        static_assert(N % 4 == 0);
#pragma unroll
        for (int group = 0; group < N; group += 4) {
            bool keeps[4];
            keep(i + group, keeps);
#pragma unroll
            for (int j = 0; j < 4; ++j) x[group + j] = keeps[j] ? x[group + j] * kept : 0.0f;
        }
    }
};

}  // namespace ggq::cuda
