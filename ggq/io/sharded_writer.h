// The weights of a model folder as Hugging Face lays them out, written one at a time: model.safetensors, or where that
// would be larger than a shard may be, model-00001-of-0000N.safetensors and model.safetensors.index.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ggq/io/safetensors_writer.h"

namespace ggq {

// Tensors, without their bytes, that go into the same shard, such as the codes and scales of a weight; texts with the
// most bytes of each (see SafetensorsWriter).
struct TensorGroup {
    FileTensors tensors;
    std::map<std::string, int64_t> texts;
};

inline constexpr int64_t kShardBytes = 5'000'000'000;  // as transformers' save_pretrained

class ShardedWriter {
public:
    // Groups fill shards in their order; one that is larger than `most_bytes` has a shard of its own.
    ShardedWriter(std::filesystem::path folder, const std::vector<TensorGroup>& groups, int64_t most_bytes);

    // A shard is on the disk as soon as the last of its tensors is. Written in the order of the groups, one or two
    // files are open at a time.
    void write(std::string_view name, int64_t at, std::span<const std::byte> bytes);
    void write_text(const std::string& name, const std::string& text);

    // The index, if there are several shards. All tensors must have come.
    void finish();

    int64_t n_bytes() const;  // that the files take at most

private:
    struct Shard {
        std::string file;
        TensorGroup content;
        std::unique_ptr<SafetensorsWriter> writer;
        bool done = false;
    };

    SafetensorsWriter& writer_of(Shard& shard);
    static void close_if_complete(Shard& shard);
    Shard& shard_of(std::string_view name);

    std::filesystem::path folder_;
    std::vector<Shard> shards_;
    std::map<std::string, size_t, std::less<>> shard_of_;
    int64_t total_size_ = 0;
};

}  // namespace ggq
