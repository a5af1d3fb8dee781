// Any text through two tokenizers that know every byte: it comes back, as it is from one whose vocabulary is bytes.
#include "models/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/small_tokenizers.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const Tokenizer bytes = test::make_tokenizer(test::byte_level_tokenizer());
    static const Tokenizer pieces = test::make_tokenizer(test::spm_tokenizer());
    const std::string_view text = fuzz::text_of(data, size);
    fuzz::refuse_or_read([&] {
        if (bytes.decode(bytes.encode(text), false) != text) std::abort();
        size_t end = 0;
        for (const Token& token : pieces.encode_with_offsets(text)) {
            if (token.begin < end || token.end < token.begin || token.end > text.size()) std::abort();
            end = token.begin;
        }
    });
    return 0;
}
