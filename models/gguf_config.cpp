#include "models/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/rope.h"

namespace ggq {

namespace {

struct Architecture {
    const char* name;  // general.architecture, and what keys begin with
    Family family;
};

// Mistral's files say that they are Llamas.
constexpr Architecture kArchitectures[] = {
    {"llama", Family::llama}, {"qwen2", Family::qwen2}, {"qwen3", Family::qwen3}};

constexpr const char* kEmbedding = "token_embd.weight";
constexpr const char* kHead = "output.weight";
constexpr int64_t kLlama3Context = 8192;  // of all models that have factors

// f32 as the decimal that it was written from: 1e-05, not 9.99999974737875e-06.
double decimal(double value) { return std::strtod(fmt::format("{}", static_cast<float>(value)).c_str(), nullptr); }

class ConfigReader {
public:
    explicit ConfigReader(const Gguf& gguf) : gguf_(gguf), architecture_(architecture_of(gguf)) {}

    LlamaConfig read(const std::vector<float>& rope_factors) {
        check_whole();
        LlamaConfig c;
        c.family = architecture_.family;
        const GgufTensor& table = gguf_.tensor(kEmbedding);
        c.vocab_size = table.shape[0];
        c.hidden_size = needed("embedding_length");
        c.num_hidden_layers = needed("block_count");
        c.intermediate_size = needed("feed_forward_length");
        c.num_attention_heads = needed("attention.head_count");
        c.num_key_value_heads = count("attention.head_count_kv").value_or(c.num_attention_heads);
        require(c.num_attention_heads > 0, "{}: '{}' must be 1 or more", gguf_.where, key("attention.head_count"));
        c.head_dim = count("attention.key_length").value_or(c.hidden_size / c.num_attention_heads);
        c.max_position_embeddings = count("context_length").value_or(c.max_position_embeddings);
        c.rms_norm_eps = decimal(number("attention.layer_norm_rms_epsilon").value_or(c.rms_norm_eps));
        c.qkv_bias = row_of(c.family).qkv_bias || gguf_.find_tensor("blk.0.attn_q.bias") != nullptr;
        c.o_bias = gguf_.find_tensor("blk.0.attn_output.bias") != nullptr;
        c.qk_norm = row_of(c.family).qk_norm;
        c.tie_word_embeddings = gguf_.find_tensor(kHead) == nullptr;
        c.dtype = table.type == GgufType::f32 ? DType::f32 : table.type == GgufType::bf16 ? DType::bf16 : DType::f16;
        check_features(c);
        read_rope(c, rope_factors);
        read_token_ids(c);
        check_config(c, gguf_.where);
        return c;
    }

private:
    static const Architecture& architecture_of(const Gguf& gguf) {
        const std::string architecture = gguf.text("general.architecture").value_or("");
        std::string known;
        for (const Architecture& row : kArchitectures) {
            if (architecture == row.name) return row;
            known += (known.empty() ? "'" : ", '") + std::string(row.name) + "'";
        }
        fail("{}: the architecture '{}' is not known; known are {}", gguf.where, shown(architecture), known);
    }

    std::string key(const char* name) const { return std::string(architecture_.name) + "." + name; }

    // A number, or one for each layer, all alike.
    std::optional<int64_t> count(const char* name) const {
        const GgufValue* value = gguf_.find(key(name));
        if (!value || !std::holds_alternative<std::vector<int64_t>>(*value)) return gguf_.count(key(name));
        const std::vector<int64_t>& of_layers = gguf_.integers(key(name));
        const bool alike = !of_layers.empty() && std::ranges::count(of_layers, of_layers[0]) == std::ssize(of_layers);
        require(alike && of_layers[0] >= 0, "{}: '{}' differs from layer to layer; only layers that are alike are held",
                gguf_.where, key(name));
        return of_layers[0];
    }
    std::optional<double> number(const char* name) const { return gguf_.number(key(name)); }

    int64_t needed(const char* name) const {
        const std::optional<int64_t> value = count(name);
        require(value.has_value(), "{}: '{}' is missing; the file holds no whole model", gguf_.where, key(name));
        return *value;
    }

    void check_whole() const {
        const std::string type = gguf_.text("general.type").value_or("model");
        require(type == "model", "{}: general.type is '{}'; expected a model", gguf_.where, shown(type));
        const int64_t n_files = gguf_.count("split.count").value_or(1);
        require(n_files <= 1, "{}: is one of {} files of a model; join them first with llama.cpp's llama-gguf-split",
                gguf_.where, n_files);
        require(gguf_.find_tensor(kEmbedding) != nullptr,
                "{}: tensor '{}' is missing; the file holds no whole model (perhaps a vocabulary)", gguf_.where,
                kEmbedding);
    }

    void check_features(const LlamaConfig& c) const {
        const auto only = [&](const char* name, int64_t expected) {
            const int64_t value = count(name).value_or(expected);
            require(value == expected, "{}: '{}' is {}; only {} is supported", gguf_.where, key(name), value, expected);
        };
        only("expert_count", 0);
        only("rope.dimension_count", c.head_dim);
        only("attention.value_length", c.head_dim);
        only("attention.sliding_window", 0);
    }

    void read_rope(LlamaConfig& c, const std::vector<float>& factors) const {
        RopeConfig& rope = c.rope;
        rope.theta = decimal(number("rope.freq_base").value_or(rope.theta));
        const std::string kind = gguf_.text(key("rope.scaling.type")).value_or("none");
        const double old_factor = number("rope.scale_linear").value_or(1);
        require(kind == "none" || kind == "linear", "{}: '{}' is '{}'; known are none and linear", gguf_.where,
                key("rope.scaling.type"), shown(kind));
        rope.factor = decimal(number("rope.scaling.factor").value_or(old_factor));
        if (rope.factor == 0) rope.factor = 1;
        if ((kind == "linear" || old_factor != 1) && rope.factor != 1) rope.kind = RopeKind::linear;
        if (rope.kind == RopeKind::plain) rope.factor = 1;
        if (!factors.empty()) read_factors(c, factors);
    }

    // The file has what each frequency is divided by; of the rule that gave them all but the factor is known.
    void read_factors(LlamaConfig& c, const std::vector<float>& factors) const {
        const bool ones = std::ranges::all_of(factors, [](float f) { return f == 1; });
        if (ones && c.rope.kind == RopeKind::plain) return;
        LlamaConfig plain = c;
        RopeConfig rope{.kind = RopeKind::llama3, .theta = c.rope.theta};
        rope.factor = decimal(*std::ranges::max_element(factors));
        rope.original_max_position_embeddings = count("rope.scaling.original_context_length").value_or(kLlama3Context);
        c.rope = rope;
        plain.rope = {.theta = rope.theta};
        const bool sizes = std::ssize(factors) == c.head_dim / 2 && c.head_dim < 1 << 16 && plain.rope.theta > 0;
        const bool follows = sizes && rope.factor >= 1 && std::isfinite(rope.factor) && agrees(c, plain, factors);
        require(follows && std::string_view(gguf_.text(key("rope.scaling.type")).value_or("none")) == "none",
                "{}: rope_freqs.weight does not hold the factors of Llama 3's rule (low 1, high 4, {} positions); "
                "others are not supported",
                gguf_.where, rope.original_max_position_embeddings);
    }

    static bool agrees(const LlamaConfig& config, const LlamaConfig& plain, const std::vector<float>& factors) {
        const std::vector<float> got = rope_frequencies(config), whole = rope_frequencies(plain);
        for (size_t i = 0; i < factors.size(); ++i)
            if (!(std::fabs(got[i] * factors[i] - whole[i]) <= 1e-5f * whole[i])) return false;
        return true;
    }

    void read_token_ids(LlamaConfig& c) const {
        c.bos_token_id = gguf_.token("tokenizer.ggml.bos_token_id");
        for (const char* name : {"eos_token_id", "eot_token_id"}) {
            const auto id = gguf_.token(std::string("tokenizer.ggml.") + name);
            if (id && std::ranges::find(c.eos_token_ids, *id) == c.eos_token_ids.end()) c.eos_token_ids.push_back(*id);
        }
    }

    const Gguf& gguf_;
    const Architecture& architecture_;
};

}  // namespace

LlamaConfig gguf_config(const Gguf& gguf, const std::vector<float>& rope_factors) {
    return ConfigReader(gguf).read(rope_factors);
}

}  // namespace ggq
