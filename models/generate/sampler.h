// How tokens are chosen from logits: penalties, top-k, top-p, min-p, then temperature, in llama.cpp's order. The op
// `sample` does it, on the device. Each draw is a function of (seed, position), so a generation repeats exactly.
#pragma once

#include <cstdint>

#include "kernels/sampling.h"

namespace ggq {

struct SamplerOptions {
    double temperature = 0.8;  // 0: always the likeliest token, the lowest id of equal ones
    int64_t top_k = 40;        // 0: off
    double top_p = 0.95;       // 1: off
    double min_p = 0.05;       // 0: off
    double repeat_penalty = 1;
    double presence_penalty = 0, frequency_penalty = 0;
    uint64_t seed = 42;
};

// Added to the logit of a token before anything else is done with it; infinity forbids or forces it.
struct LogitBias {
    int32_t token = 0;
    double bias = 0;
};

inline constexpr int64_t kRepeatWindow = sampling::kWindow;  // how many of the last tokens the penalties look at

// What the op takes of them. `vocabulary`: only the first so many tokens can be chosen; 0: all.
sampling::Settings settings_of(const SamplerOptions& options, int64_t vocabulary);

}  // namespace ggq
