// The configuration in a GGUF file of a model: the input is the file, whose last bytes are factors of rope too.
#include <cstring>
#include <span>
#include <vector>

#include "models/gguf_config.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::refuse_or_read([&] {
        const Gguf gguf = parse_gguf({reinterpret_cast<const std::byte*>(data), size}, "a.gguf");
        std::vector<float> factors(size % 5 * 2);
        if (!factors.empty() && size >= factors.size() * 4)
            std::memcpy(factors.data(), data + size - factors.size() * 4, factors.size() * 4);
        const LlamaConfig config = gguf_config(gguf, factors);
        if (config.num_attention_heads % config.num_key_value_heads != 0) std::abort();
    });
    return 0;
}
