#include "models/families.h"

#include <algorithm>
#include <iterator>

#include "kernels/check.h"

namespace ggq {

namespace {

// Defaults are those of transformers' configurations. Kin without a row of their own (SmolLM2, TinyLlama, Yi) say that
// they are Llamas.
constexpr FamilyRow kRows[] = {
    {.family = Family::llama,
     .name = "Llama",
     .model_type = "llama",
     .architecture = "LlamaForCausalLM",
     .reads_attention_bias = true},
    {.family = Family::mistral,
     .name = "Mistral",
     .model_type = "mistral",
     .architecture = "MistralForCausalLM",
     .window = WindowRule::all_layers,
     .default_window = 4096},
    {.family = Family::qwen2,
     .name = "Qwen2",
     .model_type = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .qkv_bias = true,
     .window = WindowRule::from_max_window_layers,
     .default_window = 4096},
    {.family = Family::qwen3,
     .name = "Qwen3",
     .model_type = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .reads_attention_bias = true,
     .qk_norm = true,
     .window = WindowRule::from_max_window_layers,
     .default_window = 4096,
     .default_head_dim = 128},
};

}  // namespace

std::span<const FamilyRow> family_rows() { return kRows; }

const FamilyRow& row_of(Family family) {
    const auto* row = std::ranges::find(kRows, family, &FamilyRow::family);
    GGQ_ASSERT(row != std::end(kRows), "a family without a row");
    return *row;
}

}  // namespace ggq
