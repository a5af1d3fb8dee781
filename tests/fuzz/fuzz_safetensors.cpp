// A safetensors file: the input is the whole file, or, behind a first byte, its header alone.
#include <span>

#include "ggq/io/safetensors.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

namespace {

// Every byte of every tensor lies inside of the file.
void read(const std::string& file) {
    const SafetensorsContent content =
        parse_safetensors({reinterpret_cast<const std::byte*>(file.data()), file.size()}, "a.safetensors");
    volatile unsigned sum = 0;
    for (const auto& [name, tensor] : content.tensors)
        for (int64_t i = 0; i < tensor.n_bytes(); ++i) sum = sum + static_cast<const uint8_t*>(tensor.data)[i];
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text = fuzz::text_of(data, size);
    fuzz::refuse_or_read([&] { read(std::string(text)); });
    if (size > 0) fuzz::refuse_or_read([&] { read(fuzz::with_header(text.substr(1), data[0])); });
    return 0;
}
