#include "models/model_summary.h"

#include <fmt/format.h>

#include <map>

#include "ggq/io/utf8.h"
#include "models/families.h"
#include "models/figures.h"

namespace ggq {

namespace {

std::string sizes_of(const LlamaConfig& c) {
    return fmt::format("{}: {} layers of {}, {} heads of {} ({} of keys), MLP of {}, {} tokens, {} positions{}",
                       row_of(c.family).name, c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.head_dim,
                       c.num_key_value_heads, c.intermediate_size, thousands(c.vocab_size),
                       thousands(c.max_position_embeddings), c.tie_word_embeddings ? ", head tied" : "");
}

std::string weights_of(const Model& model) {
    std::map<std::string, int64_t> tensors;
    int64_t n_bytes = 0;
    for (const WeightRow& row : weight_rows(model.config)) {
        const TensorType type = model.weights->type(row);
        ++tensors[name(type.dtype)];
        n_bytes += type.bytes();
    }
    const int64_t n = model.n_weights();
    std::string text = fmt::format("weights: {}, {:.2f} bits each on average; tensors:", thousands(n),
                                   8 * static_cast<double>(n_bytes) / static_cast<double>(n));
    for (const auto& [type, count] : tensors) text += fmt::format(" {} {}", count, type);
    return text;
}

std::string tokenizer_of(const Tokenizer& tokenizer) {
    const auto token = [&](std::optional<int32_t> id) {
        return id ? fmt::format("'{}' ({})", shown(tokenizer.token_of(*id)), *id) : std::string("none");
    };
    return fmt::format("tokenizer: {} tokens, BOS {}, EOS {}, {} chat template", thousands(tokenizer.vocab_size()),
                       token(tokenizer.bos_id()), token(tokenizer.eos_id()),
                       tokenizer.has_chat_template() ? "with a" : "no");
}

}  // namespace

std::vector<std::string> summary_of(const Model& model) {
    std::vector<std::string> lines = {sizes_of(model.config), weights_of(model), tokenizer_of(model.tokenizer)};
    for (const std::string& warning : model.warnings) lines.push_back("warning: " + warning);
    return lines;
}

}  // namespace ggq
