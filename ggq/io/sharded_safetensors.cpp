#include "ggq/io/sharded_safetensors.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/json_file.h"

namespace ggq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

[[noreturn]] void fail_without_weights(const fs::path& folder) {
    require(fs::is_directory(folder), "the model folder {} is not there", folder.string());
    for (const char* pickled : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
        require(!fs::exists(folder / pickled),
                "{} holds its weights only as {}, which cannot be read safely; convert them with transformers: "
                "save_pretrained(..., safe_serialization=True)",
                folder.string(), pickled);
    fail("{} holds no weights: neither {} nor {} is there", folder.string(), kSingleFile, kIndexFile);
}

std::map<std::string, std::string> read_weight_map(const fs::path& index) {
    const MappedFile file(index);
    refuse_lfs_pointer(as_text(file.bytes()), index.string());
    const nlohmann::json content = parse_json(as_text(file.bytes()), index.string());
    const bool has_map = content.is_object() && content.contains("weight_map") && content["weight_map"].is_object();
    require(has_map, "{}: has no weight_map", index.string());
    std::map<std::string, std::string> weight_map;
    for (const auto& [tensor, shard] : content["weight_map"].items()) {
        const bool plain =
            shard.is_string() && fs::path(shard.get<std::string>()).filename() == shard.get<std::string>();
        require(plain, "{}: tensor '{}' is mapped to {}, which is no file name", index.string(), tensor, shard.dump());
        weight_map.emplace(tensor, shard.get<std::string>());
    }
    return weight_map;
}

}  // namespace

ShardedSafetensors::ShardedSafetensors(fs::path folder) : folder_(std::move(folder)) {
    if (fs::exists(folder_ / kSingleFile)) {
        const auto [shard, added] = shards_.emplace(kSingleFile, folder_ / kSingleFile);
        for (const auto& [tensor, t] : shard->second.tensors()) shard_of_.emplace(tensor, &shard->second);
    } else if (fs::exists(folder_ / kIndexFile)) {
        open_indexed(folder_ / kIndexFile);
    } else {
        fail_without_weights(folder_);
    }
}

void ShardedSafetensors::open_indexed(const fs::path& index) {
    for (const auto& [tensor, file] : read_weight_map(index)) {
        if (!shards_.contains(file)) {
            require(fs::exists(folder_ / file), "{}: the shard {} is missing; download it again", index.string(), file);
            shards_.emplace(file, folder_ / file);
        }
        const SafetensorsFile& shard = shards_.at(file);
        require(shard.find(tensor) != nullptr, "{}: names tensor '{}' in {}, which does not hold it", index.string(),
                tensor, file);
        shard_of_.emplace(tensor, &shard);
    }
    for (const auto& [file, shard] : shards_)
        for (const auto& [tensor, t] : shard.tensors()) {
            const auto named = shard_of_.find(tensor);
            require(named != shard_of_.end() && named->second == &shard,
                    "{}: does not name tensor '{}', which {} holds", index.string(), tensor, file);
        }
}

std::vector<std::string> ShardedSafetensors::names() const {
    std::vector<std::string> names;
    for (const auto& [tensor, shard] : shard_of_) names.push_back(tensor);
    return names;
}

const FileTensor* ShardedSafetensors::find(std::string_view name) const {
    const auto found = shard_of_.find(name);
    return found == shard_of_.end() ? nullptr : found->second->find(name);
}

const FileTensor& ShardedSafetensors::at(std::string_view name) const {
    const FileTensor* tensor = find(name);
    require(tensor != nullptr, "{}: tensor '{}' is missing", folder_.string(), name);
    return *tensor;
}

void ShardedSafetensors::drop(std::string_view name) const {
    const auto found = shard_of_.find(name);
    if (found != shard_of_.end()) found->second->drop(found->second->at(name));
}

std::vector<fs::path> ShardedSafetensors::files() const {
    std::vector<fs::path> files;
    for (const auto& [file, shard] : shards_) files.push_back(shard.path());
    return files;
}

}  // namespace ggq
