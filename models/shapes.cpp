#include "models/shapes.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include "ggq/error.h"

namespace ggq {

namespace {

struct NamedShape {
    const char* name;
    int64_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocabulary;
    bool tied;
};

constexpr NamedShape kShapes[] = {
    {"llama-15m", 288, 768, 6, 6, 6, 48, 32000, true},  // stories15M
    {"smollm2-135m", 576, 1536, 30, 9, 3, 64, 49152, true},
    {"llama3.2-1b", 2048, 8192, 16, 32, 8, 64, 128256, true},
    {"llama3.2-3b", 3072, 8192, 28, 24, 8, 128, 128256, true},
    {"llama2-7b", 4096, 11008, 32, 32, 32, 128, 32000, false},
    {"llama2-13b", 5120, 13824, 40, 40, 40, 128, 32000, false},
    {"llama2-70b", 8192, 28672, 80, 64, 8, 128, 32000, false},
    {"codellama-34b", 8192, 22016, 48, 64, 8, 128, 32000, false},
    {"llama3-8b", 4096, 14336, 32, 32, 8, 128, 128256, false},
    {"llama3-70b", 8192, 28672, 80, 64, 8, 128, 128256, false},
};

NamedShape find_shape(const std::string& text) {
    for (const NamedShape& s : kShapes)
        if (text == s.name) return s;
    NamedShape s{"", 0, 0, 0, 0, 0, 0, 0, false};
    int64_t* const sizes[] = {&s.hidden, &s.intermediate, &s.layers, &s.heads, &s.kv_heads, &s.head_dim, &s.vocabulary};
    size_t n = 0, at = 0;
    for (; n < std::size(sizes) && at < text.size(); ++n) {
        const size_t end = std::min(text.find(':', at), text.size());
        const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, *sizes[n]);
        if (error != std::errc() || stop != text.data() + end || *sizes[n] <= 0) break;
        at = end + 1;
    }
    require(n == std::size(sizes) && at == text.size() + 1 && s.heads % s.kv_heads == 0,
            "`shape`: expected {}, got '{}'", shape_list(), text);
    return s;
}

}  // namespace

std::string shape_list() {
    std::string list;
    for (const NamedShape& s : kShapes) list += std::string(s.name) + ", ";
    return list + "or hidden:intermediate:layers:heads:kv-heads:head-size:vocabulary";
}

LlamaConfig config_of_shape(const std::string& text, int64_t n_positions) {
    const NamedShape s = find_shape(text);
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

}  // namespace ggq
