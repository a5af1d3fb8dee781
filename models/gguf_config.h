// The configuration that a GGUF file of llama.cpp carries, for the architectures "llama" (Mistral too), "qwen2" and
// "qwen3": what config.json says of the same model in Hugging Face layout. Whatever would change the arithmetic and is
// not held here is refused by name.
#pragma once

#include "ggq/io/gguf.h"
#include "models/config.h"

namespace ggq {

// The factors of llama3's rope, which the file has as a tensor rope_freqs.weight f32[head_dim / 2] instead of its four
// numbers, are given as `rope_factors`; empty without that tensor.
LlamaConfig gguf_config(const Gguf& gguf, const std::vector<float>& rope_factors);

}  // namespace ggq
