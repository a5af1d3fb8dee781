// Model: a Llama before it is in memory: its configuration, where its weights come from, and its tokenizer.
//
// Trainer, evaluator, generator and benches start from one. In which form it is held in memory is WeightChoice's to
// say, and in memory it is a Llama (models/llama.h).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "models/config.h"
#include "models/tensor_source.h"
#include "models/text/tokenizer.h"

namespace ggq {

struct Model {
    std::filesystem::path folder;  // or a GGUF file; empty: made in memory
    LlamaConfig config;
    Tokenizer tokenizer;  // empty without a folder
    std::unique_ptr<TensorSource> weights;
    std::vector<std::string> warnings;  // what a user should hear of it

    std::string hash(const StopAsked& stop = {}) const;  // of the weights, and of the configuration's function_text()
    int64_t n_weights() const;
    int64_t n_tokens() const;                  // ids that tokenizer and model both know: 0 to n_tokens() - 1
    std::vector<int32_t> stop_tokens() const;  // EOS by config.json, generation_config.json and the tokenizer
};

// A model folder (config.json, tokenizer.json, safetensors) or a GGUF file, which holds all of it. Throws Error for
// whatever is missing or does not fit together.
Model open_model(const std::filesystem::path& path);

// A new model of a folder's config.json and tokenizer.json.
Model open_untrained(const std::filesystem::path& folder, uint64_t seed);

}  // namespace ggq
