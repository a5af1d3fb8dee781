#include "ggq/io/sharded_writer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"

namespace ggq {

namespace {

int64_t data_bytes(const TensorGroup& group) {
    int64_t sum = 0;
    for (const auto& [name, t] : group.tensors) sum += t.n_bytes();
    for (const auto& [name, most] : group.texts) sum += most;
    return sum;
}

void append(TensorGroup& to, const TensorGroup& group) {
    to.tensors.insert(group.tensors.begin(), group.tensors.end());
    to.texts.insert(group.texts.begin(), group.texts.end());
}

}  // namespace

ShardedWriter::ShardedWriter(std::filesystem::path folder, const std::vector<TensorGroup>& groups, int64_t most_bytes)
    : folder_(std::move(folder)) {
    int64_t filled = 0;
    for (const TensorGroup& group : groups) {
        const int64_t n = data_bytes(group);
        if (shards_.empty() || (filled > 0 && n > most_bytes - filled)) shards_.emplace_back(), filled = 0;
        append(shards_.back().content, group);
        filled += n;
        for (const auto& [name, t] : group.tensors) shard_of_[name] = shards_.size() - 1, total_size_ += t.n_bytes();
        for (const auto& [name, most] : group.texts) shard_of_[name] = shards_.size() - 1;
    }
    for (size_t i = 0; i < shards_.size(); ++i)
        shards_[i].file = shards_.size() == 1 ? "model.safetensors"
                                              : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards_.size());
}

SafetensorsWriter& ShardedWriter::writer_of(Shard& shard) {
    GGQ_ASSERT(!shard.done, shard.file);
    if (!shard.writer)
        shard.writer =
            std::make_unique<SafetensorsWriter>(folder_ / shard.file, shard.content.tensors, shard.content.texts);
    return *shard.writer;
}

void ShardedWriter::close_if_complete(Shard& shard) {
    if (!shard.writer->complete()) return;
    shard.writer->commit();
    shard.writer.reset();
    shard.done = true;
}

ShardedWriter::Shard& ShardedWriter::shard_of(std::string_view name) {
    const auto found = shard_of_.find(name);
    GGQ_ASSERT(found != shard_of_.end(), std::string(name));
    return shards_[found->second];
}

void ShardedWriter::write(std::string_view name, int64_t at, std::span<const std::byte> bytes) {
    Shard& shard = shard_of(name);
    writer_of(shard).write(name, at, bytes);
    close_if_complete(shard);
}

void ShardedWriter::write_text(const std::string& name, const std::string& text) {
    Shard& shard = shard_of(name);
    writer_of(shard).write_text(name, text);
    total_size_ += std::ssize(text);
    close_if_complete(shard);
}

void ShardedWriter::finish() {
    for (const Shard& shard : shards_) GGQ_ASSERT(shard.done, shard.file);
    if (shards_.size() < 2) return;
    nlohmann::ordered_json index = {{"metadata", {{"total_size", total_size_}}}};
    for (const auto& [name, i] : shard_of_) index["weight_map"][name] = shards_[i].file;
    write_file(folder_ / "model.safetensors.index.json", index.dump(2) + "\n");
}

int64_t ShardedWriter::n_bytes() const {
    constexpr int64_t kIndexEntry = 64;  // of the index, beside the name
    int64_t sum = 0;
    for (const Shard& shard : shards_) sum += SafetensorsWriter::n_bytes(shard.content.tensors, shard.content.texts);
    for (const auto& [name, i] : shard_of_) sum += std::ssize(name) + kIndexEntry;
    return sum;
}

}  // namespace ggq
