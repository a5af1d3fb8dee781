#include "models/gguf_names.h"

#include <utility>

namespace ggq {

namespace {

struct Names {
    std::string_view hf, gguf;
};

constexpr Names kModules[] = {
    {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};

constexpr Names kOfLayer[] = {{"input_layernorm", "attn_norm"},    {"post_attention_layernorm", "ffn_norm"},
                              {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
                              {"self_attn.v_proj", "attn_v"},      {"self_attn.o_proj", "attn_output"},
                              {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
                              {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
                              {"mlp.down_proj", "ffn_down"}};

constexpr std::string_view kHfLayer = "model.layers.", kGgufLayer = "blk.";

// `name` with `from` at its front replaced, where that is a whole module.
std::optional<std::string> replaced(std::string_view name, std::string_view from, std::string_view to) {
    if (!name.starts_with(from) || (name.size() > from.size() && name[from.size()] != '.')) return std::nullopt;
    return std::string(to).append(name.substr(from.size()));
}

template <size_t N>
std::optional<std::string> found(const Names (&table)[N], std::string_view Names::*from, std::string_view Names::*to,
                                 std::string_view name) {
    for (const Names& row : table)
        if (auto other = replaced(name, row.*from, row.*to)) return other;
    return std::nullopt;
}

std::optional<std::string> renamed(std::string_view name, std::string_view Names::*from, std::string_view Names::*to,
                                   std::string_view layer, std::string_view other_layer) {
    if (!name.starts_with(layer)) return found(kModules, from, to, name);
    const std::string_view rest = name.substr(layer.size());
    const size_t digits = rest.find_first_not_of("0123456789");
    if (digits == 0 || digits == std::string_view::npos || rest[digits] != '.') return std::nullopt;
    const auto module = found(kOfLayer, from, to, rest.substr(digits + 1));
    if (!module) return std::nullopt;
    return std::string(other_layer).append(rest.substr(0, digits + 1)) + *module;
}

}  // namespace

std::optional<std::string> gguf_name(std::string_view hf) {
    return renamed(hf, &Names::hf, &Names::gguf, kHfLayer, kGgufLayer);
}

std::optional<std::string> hf_name(std::string_view gguf) {
    return renamed(gguf, &Names::gguf, &Names::hf, kGgufLayer, kHfLayer);
}

bool is_permuted(std::string_view hf) {
    return hf.find(".self_attn.q_proj") != std::string_view::npos ||
           hf.find(".self_attn.k_proj") != std::string_view::npos;
}

int64_t permuted_row(int64_t row, int64_t head_dim) {
    const int64_t in_head = row % head_dim, half = head_dim / 2;
    return row - in_head + in_head % half * 2 + in_head / half;
}

}  // namespace ggq
