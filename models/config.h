// config.json of a Llama or of a family that is one with a few parts more (families.h), in Hugging Face layout, in the
// spellings of transformers 4 and 5.
// Whatever would change the arithmetic and is not held here is refused by name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/view.h"
#include "models/families.h"

namespace ggq {

// How rotary frequencies are stretched for longer contexts. `plain` is what the files call "default".
enum class RopeKind { plain, linear, llama3, yarn, dynamic };

struct RopeConfig {
    RopeKind kind = RopeKind::plain;
    double theta = 10000;
    double factor = 1;                             // all but plain
    double low_freq_factor = 1;                    // llama3
    double high_freq_factor = 4;                   // llama3
    int64_t original_max_position_embeddings = 0;  // llama3, yarn
    double beta_fast = 32, beta_slow = 1;          // yarn
    double attention_factor = 1;                   // yarn: of rotated q and k, so scores have its square
    bool truncate = true;                          // yarn

    bool operator==(const RopeConfig&) const = default;
};

// What config.json says of a checkpoint of bitsandbytes whose linears are quantized already; the tensors decide.
struct Bnb4bitConfig {
    DType type = DType::fp4;  // bitsandbytes' own default of 4 bits; or nf4, or int8
    bool double_quant = false;

    bool operator==(const Bnb4bitConfig&) const = default;
};

struct LlamaConfig {
    Family family = Family::llama;
    int64_t vocab_size = 0;
    int64_t hidden_size = 0;
    int64_t intermediate_size = 0;
    int64_t num_hidden_layers = 0;
    int64_t num_attention_heads = 0;
    int64_t num_key_value_heads = 0;
    int64_t head_dim = 0;
    int64_t max_position_embeddings = 2048;
    double rms_norm_eps = 1e-6;
    double initializer_range = 0.02;  // deviation of random weights, when trained from scratch
    bool tie_word_embeddings = false;
    bool qkv_bias = false, o_bias = false;  // of the products of attention
    bool qk_norm = false;                   // a norm of each head of q and k, before RoPE
    int64_t sliding_window = 0;             // keys that a query sees in the layers that slide, itself one of them
    std::vector<bool> window_layers;        // by layer; empty without a window
    RopeConfig rope;
    DType dtype = DType::f32;                   // of the checkpoint, as the file says; the tensors decide
    double attention_dropout = 0;               // which is not applied
    std::optional<Bnb4bitConfig> quantization;  // nothing: the checkpoint is not quantized
    std::optional<int32_t> bos_token_id;
    std::vector<int32_t> eos_token_ids;
    std::vector<std::string> warnings;  // what the file says and is taken in one of several ways
    std::string source;                 // the JSON text this was read from; empty if it was made in memory
};

// `where` names the text in errors.
LlamaConfig parse_config(std::string_view json_text, const std::string& where);

// config.json of a model folder, with the ids of generation_config.json if that is there.
LlamaConfig read_config(const std::filesystem::path& folder);

// Refuses sizes that do not fit together, and such as no model has: of the sum of all weights in bytes, and of whatever
// else is counted from these sizes, none can reach 64 bits.
void check_config(const LlamaConfig& config, const std::string& where);

// The text of a config.json: the source with what was changed since rewritten, all else kept.
std::string config_text(const LlamaConfig& config);

// The fields that decide which function the weights compute, however the file spells them; for a hash.
std::string function_text(const LlamaConfig& config);

// Inverse frequencies [head_dim / 2] in float32, step by step as transformers computes them; of the kind dynamic those
// of texts within max_position_embeddings, which no other is.
std::vector<float> rope_frequencies(const LlamaConfig& config);

}  // namespace ggq
