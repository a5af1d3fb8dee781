// LoRA adapters as GGUF files of llama.cpp:
//   general.type = adapter, general.architecture of the base, adapter.type = lora, adapter.lora.alpha
//   <base tensor>.lora_a  [r, in]      <base tensor>.lora_b  [out, r]
// The loader multiplies by alpha / r, r being that of each tensor. B of a Llama's q and k has its rows in the order in
// which llama.cpp has those of the base; of token_embd A is [vocab, r] and B [dim, r].
// Source: llama.cpp, src/llama-adapter.cpp and convert_lora_to_gguf.py.
#pragma once

#include <filesystem>

#include "ggq/io/gguf.h"
#include "models/adapter_files.h"
#include "models/config.h"

namespace ggq {

// `base`: the model's configuration, which knows the size of a head and whether there is a head beside the embedding.
Adapter read_gguf_adapter(const std::filesystem::path& path, const LlamaConfig& base);

// Scales that alpha / r does not give go into B. Throws Error, with advice, for what the form cannot hold: DoRA, whole
// modules, a head that is the embedding.
void write_gguf_adapter(const std::filesystem::path& path, const Adapter& adapter, const LlamaConfig& base,
                        GgufType type);

}  // namespace ggq
