// A folder of mlx-lm: adapter_config.json, and behind a line of its own the header of the tensors.
#include "models/convert/mlx_adapter.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    constexpr std::string_view kBreak = "\n---\n";
    const std::string_view text = fuzz::text_of(data, size);
    const std::string_view config = text.substr(0, text.find(kBreak));
    const bool has_header = config.size() < text.size();
    folder.write("adapter_config.json", config);
    folder.write(kMlxTensorFile, fuzz::with_header(has_header ? text.substr(config.size() + kBreak.size()) : "{}", 56));
    fuzz::refuse_or_read([&] { read_mlx_adapter(folder.path()); });
    return 0;
}
