// The index of a model in shards.
#include "ggq/io/sharded_safetensors.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    static const std::string shard = fuzz::with_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
    folder.write("1.safetensors", shard);
    folder.write("model.safetensors.index.json", fuzz::text_of(data, size));
    fuzz::refuse_or_read([&] {
        const ShardedSafetensors model(folder.path());
        std::vector<std::byte> bytes;
        for (const std::string& name : model.names()) model.read(name, bytes);
        model.why_missing("b");
    });
    return 0;
}
