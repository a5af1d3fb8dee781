// A regular expression of a tokenizer file, and behind its first line the text that it is run over: matches lie in
// order within the text and cut no character.
#include "ggq/io/utf8.h"
#include "models/text/regex.h"
#include "tests/fuzz/fuzz.h"

using namespace ggq;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view input = fuzz::text_of(data, size);
    const size_t end = std::min(input.find('\n'), input.size());
    const std::string pattern(input.substr(0, end));
    const std::string_view text = input.substr(std::min(end + 1, input.size()));
    if (invalid_utf8(input)) return 0;  // a JSON text cannot hold it
    fuzz::refuse_or_read([&] {
        size_t at = 0;
        for (const TextRange& match : Regex(pattern).find_all(text)) {
            if (match.begin < at || match.end < match.begin || match.end > text.size()) std::abort();
            if (invalid_utf8(text.substr(match.begin, match.end - match.begin))) std::abort();
            at = match.end;
        }
        const auto quoted = Regex(Regex::quote(pattern)).find_all(pattern);
        if (!pattern.empty() && (quoted.size() != 1 || quoted[0].end != pattern.size())) std::abort();
    });
    return 0;
}
