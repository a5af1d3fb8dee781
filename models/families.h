// The families of models that this library holds: each is a Llama with the parts that its row names.
//
// Beside q, k, v, o and the MLP: biases of q, k and v (Qwen2), a norm of each head's q and k before RoPE (Qwen3),
// layers in which a query sees the last keys only (Mistral, and what Qwen2 and Qwen3 may ask for).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace ggq {

enum class Family : uint8_t { llama, mistral, qwen2, qwen3 };

// Which layers have the sliding window that config.json names.
enum class WindowRule : uint8_t { none, all_layers, from_max_window_layers };

struct FamilyRow {
    Family family;
    const char* name;          // for messages
    const char* model_type;    // in config.json
    const char* architecture;  // the same
    bool qkv_bias = false;
    bool reads_attention_bias = false;  // attention_bias: of q, k, v and o
    bool qk_norm = false;
    WindowRule window = WindowRule::none;
    int64_t default_window = 0;    // where the file does not say; 0: none
    int64_t default_head_dim = 0;  // 0: hidden_size / num_attention_heads
};

std::span<const FamilyRow> family_rows();
const FamilyRow& row_of(Family family);

}  // namespace ggq
