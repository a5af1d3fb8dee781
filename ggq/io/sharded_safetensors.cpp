#include "ggq/io/sharded_safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr uint64_t kPiece = uint64_t{1} << 20;  // of two tensors that are compared

[[noreturn]] void fail_without_weights(const fs::path& folder) {
    require(is_folder(folder), "the model folder {} is not there", folder.string());
    for (const char* pickled : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
        require(!is_there(folder / pickled),
                "{} holds its weights only as {}, which cannot be read safely; convert them with transformers: "
                "save_pretrained(..., safe_serialization=True)",
                folder.string(), pickled);
    fail("{} holds no weights: neither {} nor {} is there", folder.string(), kSingleFile, kIndexFile);
}

bool is_file_name(const std::string& text) {
    return !text.empty() && text != "." && text != ".." && text.find_first_of(std::string_view("/\0", 2)) == text.npos;
}

std::map<std::string, std::string> read_weight_map(const fs::path& index) {
    const nlohmann::json content = parse_json(read_side_file(index), index.string());
    const bool has_map = content.is_object() && content.contains("weight_map") && content["weight_map"].is_object();
    require(has_map, "{}: has no weight_map", index.string());
    std::map<std::string, std::string> weight_map;
    for (const auto& [tensor, shard] : content["weight_map"].items()) {
        require(shard.is_string() && is_file_name(shard.get<std::string>()),
                "{}: tensor '{}' is mapped to {}, which is no file name", index.string(), shown(tensor),
                shown_json(shard));
        weight_map.emplace(tensor, shard.get<std::string>());
    }
    return weight_map;
}

}  // namespace

ShardedSafetensors::ShardedSafetensors(fs::path folder) : folder_(std::move(folder)) {
    if (is_there(folder_ / kSingleFile)) add_tensors(*open_shard(kSingleFile));
    else if (is_there(folder_ / kIndexFile)) open_indexed(folder_ / kIndexFile);
    else fail_without_weights(folder_);
}

void ShardedSafetensors::open_indexed(const fs::path& index) {
    std::string first_missing;
    for (const auto& [tensor, file] : read_weight_map(index)) {
        const SafetensorsReader* shard = open_shard(file);
        if (shard && shard->find(tensor)) continue;
        missing_[tensor] = shard ? fmt::format("the index names it in {}, which does not hold it", shown(file))
                                 : fmt::format("the shard {} is missing; download it again", shown(file));
        if (!shard && first_missing.empty()) first_missing = shown(file);
    }
    require(
        !shards_.empty(), "{}: {}", index.string(),
        first_missing.empty() ? "names no tensor" : "the shard " + first_missing + " is missing; download it again");
    for (const auto& [file, shard] : shards_) add_tensors(shard);
}

const SafetensorsReader* ShardedSafetensors::open_shard(const std::string& file) {
    const auto known = shards_.find(file);
    if (known != shards_.end()) return &known->second;
    return is_there(folder_ / file) ? &shards_.emplace(file, folder_ / file).first->second : nullptr;
}

void ShardedSafetensors::add_tensors(const SafetensorsReader& shard) {
    for (const auto& [tensor, t] : shard.tensors()) {
        const auto [place, is_new] = shard_of_.emplace(tensor, &shard);
        require(is_new, "{}: tensor '{}' is in {} too", shard.path().string(), shown(tensor),
                place->second->path().filename().string());
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
    require(tensor != nullptr, "{}: tensor '{}' is missing", folder_.string(), shown(name));
    return *tensor;
}

std::string ShardedSafetensors::file_of(std::string_view name) const {
    const auto found = shard_of_.find(name);
    return (found == shard_of_.end() ? folder_ : found->second->path()).string();
}

std::string ShardedSafetensors::why_missing(const std::string& name) const {
    const auto known = missing_.find(name);
    return known == missing_.end() ? "is the model folder complete?" : known->second;
}

bool ShardedSafetensors::same(std::string_view one, std::string_view other) const {
    const FileTensor &a = at(one), &b = at(other);
    if (a.dtype != b.dtype || a.shape != b.shape) return false;
    const auto n_bytes = static_cast<uint64_t>(a.n_bytes());
    std::vector<std::byte> left(kPiece), right(kPiece);
    for (uint64_t begin = 0; begin < n_bytes; begin += kPiece) {
        const uint64_t n = std::min(kPiece, n_bytes - begin);
        shard_of_.find(one)->second->read_part(one, begin, {left.data(), n});
        shard_of_.find(other)->second->read_part(other, begin, {right.data(), n});
        if (std::memcmp(left.data(), right.data(), n) != 0) return false;
    }
    return true;
}

FileTensor ShardedSafetensors::read(std::string_view name, std::vector<std::byte>& bytes) const {
    at(name);  // refuses
    return shard_of_.find(name)->second->read(name, bytes);
}

void ShardedSafetensors::read_part(std::string_view name, uint64_t at, std::span<std::byte> to) const {
    this->at(name);  // refuses
    shard_of_.find(name)->second->read_part(name, at, to);
}

std::vector<fs::path> ShardedSafetensors::files() const {
    std::vector<fs::path> files;
    for (const auto& [file, shard] : shards_) files.push_back(shard.path());
    return files;
}

}  // namespace ggq
