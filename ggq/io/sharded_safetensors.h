// The weights of a model folder in Hugging Face layout, one file or several:
//   model.safetensors                    or
//   model.safetensors.index.json         {"metadata": {...}, "weight_map": {"tensor":
//   "model-00001-of-00002.safetensors"}}
// Every shard is opened and checked; index and shards must name the same tensors.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ggq/io/safetensors.h"

namespace ggq {

class ShardedSafetensors {
public:
    explicit ShardedSafetensors(std::filesystem::path folder);

    std::vector<std::string> names() const;               // sorted
    const FileTensor* find(std::string_view name) const;  // null if there is none
    const FileTensor& at(std::string_view name) const;    // refuses by name if there is none
    void drop(std::string_view name) const;               // its pages need not stay in memory
    std::vector<std::filesystem::path> files() const;     // of tensors, sorted by name: what a hash of the model reads

private:
    void open_indexed(const std::filesystem::path& index);

    std::filesystem::path folder_;
    std::map<std::string, SafetensorsFile> shards_;                        // by file name
    std::map<std::string, const SafetensorsFile*, std::less<>> shard_of_;  // by tensor
};

}  // namespace ggq
