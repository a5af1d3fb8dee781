// A folder's tokenizer: tokenizer.json, and behind lines of their own tokenizer_config.json, special_tokens_map.json
// and a text. What loads must encode any text, within its bytes, and decode what it encoded.
#include "models/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

namespace {

// The part of the input before the next break, which is taken off.
std::string_view next_part(std::string_view& input) {
    constexpr std::string_view kBreak = "\n---\n";
    const size_t end = std::min(input.find(kBreak), input.size());
    const std::string_view part = input.substr(0, end);
    input.remove_prefix(std::min(end + kBreak.size(), input.size()));
    return part;
}

void check(const Tokenizer& tokenizer, std::string_view text) {
    std::vector<int32_t> ids;
    for (const Token& token : tokenizer.encode_open(text).tokens) {
        if (token.begin > token.end || token.end > text.size()) std::abort();
        ids.push_back(token.id);
    }
    if (invalid_utf8(tokenizer.decode(ids, false))) std::abort();
    tokenizer.encode(text, {.add_special = true, .parse_special = false});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    std::string_view input = fuzz::text_of(data, size);
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
        const std::string_view part = next_part(input);
        folder.write(name, part.empty() ? "{}" : part);
    }
    fuzz::refuse_or_read([&] {
        const Tokenizer tokenizer = Tokenizer::load(folder.path());
        for (const std::string_view text : {std::string_view("Hello, world! 123 ab\n\n  c"), input})
            check(tokenizer, text);
    });
    return 0;
}
