// The weights of a model folder in Hugging Face layout, one file or several:
//   model.safetensors                    or
//   model.safetensors.index.json         {"metadata": {...}, "weight_map": {"tensor":
//   "model-00001-of-00002.safetensors"}}
// Every shard is opened and checked. The tensors are those that the shards hold; what the index names and no shard
// holds is missed only when it is asked for, since old files name buffers that nobody reads.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ggq/io/safetensors.h"

namespace ggq {

class ShardedSafetensors {
public:
    explicit ShardedSafetensors(std::filesystem::path folder);

    const std::filesystem::path& folder() const { return folder_; }
    std::vector<std::string> names() const;               // sorted
    const FileTensor* find(std::string_view name) const;  // null if there is none
    const FileTensor& at(std::string_view name) const;    // refuses by name if there is none

    std::string file_of(std::string_view name) const;  // the path of the file that holds it; else of the folder

    // What to say of a tensor that is not there.
    std::string why_missing(const std::string& name) const;

    // Whether two tensors that are there have the same type, shape and bytes.
    bool same(std::string_view one, std::string_view other) const;

    // The tensor with its bytes, which are read into `bytes`; it grows if they need more room, and is used again.
    FileTensor read(std::string_view name, std::vector<std::byte>& bytes) const;

    // Fills `to` with the bytes of the tensor from its byte `at` on.
    void read_part(std::string_view name, uint64_t at, std::span<std::byte> to) const;

    std::vector<std::filesystem::path> files() const;  // of tensors, sorted by name: what a hash of the model reads

private:
    void open_indexed(const std::filesystem::path& index);
    const SafetensorsReader* open_shard(const std::string& file);  // null if there is no such file
    void add_tensors(const SafetensorsReader& shard);

    std::filesystem::path folder_;
    std::map<std::string, SafetensorsReader> shards_;                        // by file name
    std::map<std::string, const SafetensorsReader*, std::less<>> shard_of_;  // by tensor
    std::map<std::string, std::string> missing_;                             // tensors that the index names: why
};

}  // namespace ggq
