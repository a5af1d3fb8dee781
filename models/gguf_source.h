// The weights of a GGUF file of llama.cpp as a source of a model's weights: each in the type in which the file has it,
// rows of q and k, which the architecture "llama" has in another order, as in the Hugging Face layout.
#pragma once

#include <memory>

#include "ggq/io/gguf.h"
#include "models/tensor_source.h"

namespace ggq {

// The dtype in which a tensor of this type is held as it is.
DType dtype_of(GgufType type);

// f32[head_dim / 2] of rope_freqs.weight; empty without it.
std::vector<float> rope_factors(const GgufFile& file);

LlamaConfig read_gguf_config(const GgufFile& file);

// Throws Error, by name, for what does not fit the configuration.
std::unique_ptr<TensorSource> gguf_source(std::shared_ptr<const GgufFile> file, const LlamaConfig& config);

}  // namespace ggq
