// The model shapes that benchmarks run with random weights, by the name that --shape takes.
#pragma once

#include <string>

#include "ggq/error.h"
#include "models/config.h"

namespace ggq::bench {

struct NamedShape {
    const char* name;
    int64_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocabulary;
    bool tied;
};

inline constexpr NamedShape kShapes[] = {
    {"llama-15m", 288, 768, 6, 6, 6, 48, 32000, true},  // stories15M
    {"llama3.2-1b", 2048, 8192, 16, 32, 8, 64, 128256, true},
    {"llama2-7b", 4096, 11008, 32, 32, 32, 128, 32000, false},
    {"llama3-8b", 4096, 14336, 32, 32, 8, 128, 128256, false},
    {"llama3-70b", 8192, 28672, 80, 64, 8, 128, 128256, false},
};

inline LlamaConfig config_of_shape(const std::string& name, int64_t n_positions) {
    std::string known;
    for (const NamedShape& s : kShapes) {
        known += std::string(known.empty() ? "" : ", ") + s.name;
        if (name != s.name) continue;
        LlamaConfig c;
        c.vocab_size = s.vocabulary;
        c.hidden_size = s.hidden;
        c.intermediate_size = s.intermediate;
        c.num_hidden_layers = s.layers;
        c.num_attention_heads = s.heads;
        c.num_key_value_heads = s.kv_heads;
        c.head_dim = s.head_dim;
        c.max_position_embeddings = n_positions;
        c.rms_norm_eps = 1e-5;
        c.tie_word_embeddings = s.tied;
        return c;
    }
    fail("--shape: expected one of {}, got '{}'", known, name);
}

}  // namespace ggq::bench
