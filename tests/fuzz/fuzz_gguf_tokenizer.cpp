// The vocabulary of a GGUF file. What loads must encode any text, within its bytes, and decode what it encoded.
#include "models/text/gguf_tokenizer.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    constexpr std::string_view kText = "Hello, ab<s> 123 ab\n\n  \xE6\xBC\xA2 ";
    fuzz::refuse_or_read([&] {
        const Gguf gguf = parse_gguf(std::as_bytes(std::span(data, size)), "fuzz.gguf");
        const Tokenizer tokenizer = tokenizer_of(gguf);
        std::vector<int32_t> ids;
        for (const Token& token : tokenizer.encode_open(kText).tokens) {
            if (token.begin > token.end || token.end > kText.size()) std::abort();
            ids.push_back(token.id);
        }
        if (invalid_utf8(tokenizer.decode(ids, false))) std::abort();
        chat_template_of(gguf);
    });
    return 0;
}
