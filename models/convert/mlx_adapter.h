// Adapters of mlx-lm:
//   adapters.safetensors  <module>.lora_a [in, r], .lora_b [r, out], DoRA's .m [out]
//   adapter_config.json   fine_tune_type (lora, dora), num_layers, model,
//                         lora_parameters {rank, scale, dropout, keys}; scale is what PEFT calls alpha / r
// There is one rank and one scale. Of layers that have no tensors mlx-lm makes an adapter that adds nothing.
// Source: mlx_lm/tuner/utils.py (linear_to_lora_layers, load_adapters), mlx_lm/tuner/lora.py, dora.py.
#pragma once

#include <filesystem>

#include "models/adapter_files.h"

namespace ggq {

inline constexpr const char* kMlxTensorFile = "adapters.safetensors";

Adapter read_mlx_adapter(const std::filesystem::path& folder);

// Into a folder that is there. Smaller ranks are filled up with zeros; scales that differ go into B. Throws Error for
// what the form cannot hold: modules as a whole.
void write_mlx_adapter(const std::filesystem::path& folder, const Adapter& adapter);

}  // namespace ggq
