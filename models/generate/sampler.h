// Choosing the next token from logits: repeat penalty, top-k, top-p, min-p, then temperature, in llama.cpp's order.
// Each draw is a function of (seed, position), so a generation repeats exactly.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ggq {

struct SamplerOptions {
    double temperature = 0.8;  // 0: always the likeliest token
    int64_t top_k = 40;        // 0: off
    double top_p = 0.95;       // 1: off
    double min_p = 0.05;       // 0: off
    double repeat_penalty = 1;
    uint64_t seed = 42;
};

inline constexpr int64_t kRepeatWindow = 64;  // how many of the last tokens the repeat penalty looks at

// `earlier` are the tokens before this one; their number is the position. The lowest id wins between equal logits.
int32_t sample(std::span<const float> logits, std::span<const int32_t> earlier, const SamplerOptions& options);

}  // namespace ggq
