// A merged model as one GGUF file, as llama.cpp's converter lays it out: metadata, the vocabulary, tensors by
// llama.cpp's names, rows of a Llama's q and k in its order, norms and biases in F32, all else in one type.
#pragma once

#include <filesystem>

#include "models/convert/gguf_floats.h"
#include "models/merge/merged_weights.h"
#include "models/merge/rounding_loss.h"
#include "models/model.h"

namespace ggq {

struct GgufModelOptions {
    std::filesystem::path path;
    GgufType type = GgufType::f16;
    bool overwrite = false;
};

// `model` is the base, whose tokenizer it takes. Asks for room on the disk first; the file appears whole or not at all.
void write_gguf_model(Backend& cpu, const MergedWeights& weights, const Model& model, const GgufModelOptions& options,
                      RoundingSummary& rounding, const StopAsked& stop = {});

}  // namespace ggq
