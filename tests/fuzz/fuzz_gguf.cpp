// A GGUF file: the input is the whole file, or, behind a first byte, what follows its magic, as a file with so many
// more zeros as the byte says.
#include <span>

#include "ggq/io/gguf.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

namespace {

// Every byte of every tensor lies inside of the file.
void read(const std::string& file) {
    const Gguf gguf = parse_gguf({reinterpret_cast<const std::byte*>(file.data()), file.size()}, "a.gguf");
    volatile unsigned sum = 0;
    for (const auto& [name, tensor] : gguf.tensors)
        for (int64_t i = 0; i < tensor.n_bytes(); ++i)
            sum = sum + static_cast<uint8_t>(file[tensor.offset + static_cast<uint64_t>(i)]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text = fuzz::text_of(data, size);
    fuzz::refuse_or_read([&] { read(std::string(text)); });
    if (size > 0)
        fuzz::refuse_or_read([&] { read(("GGUF" + std::string(text.substr(1))).append(size_t{data[0]} * 32, '\0')); });
    return 0;
}
