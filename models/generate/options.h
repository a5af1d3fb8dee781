// Everything that a generation can be told, as plain data with its defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/base_options.h"
#include "models/option_names.h"

namespace ggq {

struct AdapterChoice {
    std::string path;
    double scale = 1;  // on top of alpha / r
};

struct GenerateOptions {
    BaseOptions base;
    std::vector<AdapterChoice> adapters;  // one at most

    std::string prompt;
    std::string template_name;  // empty: the prompt as it is; "alpaca": as an instruction
    int64_t max_new_tokens = 256;
    std::optional<int64_t> max_length;  // of the context; nothing: what the prompt and max_new_tokens need

    double temperature = 0.8;  // 0: always the likeliest token
    int64_t top_k = 40;        // 0: off
    double top_p = 0.95;       // 1: off
    double min_p = 0.05;       // 0: off
    double repeat_penalty = 1;
    uint64_t seed = 42;
    std::vector<std::string> stop;  // texts that end the answer
    DType kv_dtype = DType::f32;

    bool quiet = false;
    bool profile = false;
};

// Refuses numbers out of their range, by flag, and more than one adapter.
void validate(const GenerateOptions& options);

}  // namespace ggq
