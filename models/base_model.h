// A model folder, opened and checked but not yet in memory: configuration, tokenizer, and mapped weights.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ggq/backend.h"
#include "ggq/io/sharded_safetensors.h"
#include "models/base_options.h"
#include "models/config.h"
#include "models/llama.h"
#include "models/text/tokenizer.h"

namespace ggq {

struct BaseModel {
    std::filesystem::path folder;
    LlamaConfig config;
    Tokenizer tokenizer;
    std::optional<ShardedSafetensors> files;  // nothing when training from scratch
    std::vector<std::string> warnings;        // what a user should hear of it

    std::map<std::string, DType> dtypes() const;  // of the checkpoint's tensors
    std::string hash() const;                     // of the weights, and of the configuration's function_text()
    int64_t n_weights() const;
    int64_t n_tokens() const;                  // ids that tokenizer and model both know: 0 to n_tokens() - 1
    std::vector<int32_t> stop_tokens() const;  // EOS by config.json, generation_config.json and the tokenizer
};

// Throws Error for whatever is missing or does not fit together. Without weights config.json and tokenizer.json do.
BaseModel open_base(const std::filesystem::path& folder, bool with_weights = true);

// The device that the options name; throws Error when this build or machine has none such.
std::unique_ptr<Backend> make_backend(const BaseOptions& options);

// Fills the buffers of an allocated model: the checkpoint's weights, or random ones without: normal with the
// deviation that config.json names as initializer_range (0.02 if it does not), norms 1.
void fill_weights(Store& store, const Llama& llama, const BaseModel& base, uint64_t seed);

}  // namespace ggq
