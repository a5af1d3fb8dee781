// GGUF files of whole models, for tests: weights of a model in any type, rows of q and k as llama.cpp lays them out.
#pragma once

#include <filesystem>
#include <functional>

#include "ggq/io/gguf.h"
#include "models/model.h"

namespace ggq::test {

// The type of a weight; norms are f32 whatever it says.
using GgufTypeOf = std::function<GgufType(const WeightRow& row)>;

// Weights that are not plain are encoded as Q8_0, or are what packed_bytes() makes of them. The vocabulary, if the
// model has one, goes in as that of SentencePiece. `rope_factors`: of rope_freqs.weight, if there are any.
void write_gguf_model(const std::filesystem::path& path, const Model& model, const GgufTypeOf& type_of,
                      const std::vector<float>& rope_factors = {});

// Q8_0 where rows are whole blocks, v_proj Q4_0 there, else F16.
GgufType mixed_types(const WeightRow& row);

// Without a vocabulary.
Model open_bare_gguf(const std::filesystem::path& path);

}  // namespace ggq::test
