// A model folder that is written: what lies beside its weights, and the folder itself, which appears whole.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ggq/io/atomic_folder.h"
#include "ggq/io/output_folder.h"
#include "ggq/io/sharded_writer.h"
#include "models/config.h"

namespace ggq {

struct ModelFolderOptions {
    std::filesystem::path path;
    bool overwrite = false;
    int64_t shard_bytes = kShardBytes;
};

class ModelFolder {
public:
    // Refuses a folder with content unless `overwrite`, the folder `from` itself, and a disk without room for all.
    ModelFolder(const ModelFolderOptions& options, const std::filesystem::path& from,
                const std::vector<TensorGroup>& weights);

    ShardedWriter& weights() { return weights_; }

    // `config_json` is the text of config.json. Copies tokenizer files and generation_config.json of `from`, and puts
    // all in place; weights and index of an older model go.
    void commit(const std::string& config_json);

private:
    std::filesystem::path path_, from_;
    OutputFolder lock_;
    AtomicFolder folder_;
    ShardedWriter weights_;
};

// The text of config.json for weights of this type. `quantization_config` is a JSON text; empty: there is none.
std::string config_text_for(LlamaConfig config, DType dtype, const std::string& quantization_config = "");

}  // namespace ggq
