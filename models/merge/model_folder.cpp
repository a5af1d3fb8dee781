#include "models/merge/model_folder.h"

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "ggq/io/disk_space.h"
#include "ggq/io/json_reader.h"
#include "models/adapter_files.h"
#include "models/text/special_tokens.h"

namespace ggq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfigFile = "config.json";
// Files of other programs that belong to a model, beside those that ggq reads.
constexpr const char* kSideFiles[] = {"generation_config.json", "vocab.json", "merges.txt"};
constexpr int64_t kRoomForTexts = 64 << 20;  // tokenizer and configuration

fs::path outside_of(const fs::path& path, const fs::path& from) {
    std::error_code error;
    require(!fs::equivalent(path, from, error), "the output folder {} is the model that is read; choose another one",
            path.string());
    return path;
}

// Weights of an older model in the folder, under whatever number of shards.
std::vector<std::string> old_weights(const fs::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        const bool weights = name == "model.safetensors" || name == "model.safetensors.index.json" ||
                             (name.starts_with("model-") && name.ends_with(".safetensors"));
        if (weights) names.push_back(name);
    }
    return names;
}

}  // namespace

ModelFolder::ModelFolder(const ModelFolderOptions& options, const fs::path& from,
                         const std::vector<TensorGroup>& weights)
    : path_(outside_of(options.path, from)),
      from_(from),
      lock_(path_, options.overwrite),
      folder_(path_, IfFolderExists::merge, kConfigFile),
      weights_(folder_.staging(), weights, options.shard_bytes) {
    require_disk_space(path_, weights_.n_bytes() + kRoomForTexts);
}

void ModelFolder::commit(const std::string& config_json) {
    weights_.finish();
    copy_tokenizer_files(from_, folder_.staging());
    for (const char* name : kSideFiles) copy_if_there(from_ / name, folder_.staging() / name);
    write_file(folder_.staging() / kConfigFile, config_json);
    folder_.supersede(old_weights(path_));
    folder_.commit();
}

std::string config_text_for(LlamaConfig config, DType dtype, const std::string& quantization_config) {
    config.dtype = dtype;
    nlohmann::json text = parse_json(config_text(config), kConfigFile);
    text.erase("quantization_config");
    if (!quantization_config.empty()) text["quantization_config"] = parse_json(quantization_config, kConfigFile);
    return text.dump(2, ' ', true) + "\n";
}

}  // namespace ggq
