// A folder's tokenizer.model, a SentencePiece model or tiktoken's ranks, and behind a line of its own a text. What
// loads must encode any text, within its bytes, and decode what it encoded.
#include "models/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

namespace {

void check(const Tokenizer& tokenizer, std::string_view text) {
    std::vector<int32_t> ids;
    for (const Token& token : tokenizer.encode_open(text).tokens) {
        if (token.begin > token.end || token.end > text.size()) std::abort();
        ids.push_back(token.id);
    }
    if (invalid_utf8(tokenizer.decode(ids, false))) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    constexpr std::string_view kBreak = "\n---\n";
    const std::string_view input = fuzz::text_of(data, size);
    const size_t end = std::min(input.find(kBreak), input.size());
    folder.write("tokenizer.model", input.substr(0, end));
    fuzz::refuse_or_read([&] {
        const Tokenizer tokenizer = Tokenizer::load(folder.path());
        check(tokenizer, "Hello, world! 123 ab\n\n  \xE6\xBC\xA2 e\xCC\x81 ");
        check(tokenizer, input.substr(std::min(end + kBreak.size(), input.size())));
    });
    return 0;
}
