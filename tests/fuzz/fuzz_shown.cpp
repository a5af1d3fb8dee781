// What is shown is valid UTF-8 and holds nothing that a terminal obeys.
#include <algorithm>

#include "ggq/io/utf8.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text = fuzz::text_of(data, size);
    for (const size_t most : {10, 200, 100'000}) {
        const std::string out = shown(text, most);
        const auto obeyed = [](unsigned char c) { return c < 0x20 || c == 0x7F; };
        if (std::ranges::any_of(out, obeyed) || invalid_utf8(out) || out.find("\xC2\x9B") != out.npos) std::abort();
        if (shown(out, out.size()) != out) std::abort();
    }
    return 0;
}
