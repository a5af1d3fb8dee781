#include "models/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cctype>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/text/regex_syntax.h"

namespace ggq {

namespace {

// An expression comes with a model: what it may take is bounded, so that none can hang a program or eat its memory.
constexpr size_t kMostBytes = 16 << 10;
constexpr uint32_t kMostSteps = 10'000'000;  // a second or so
constexpr uint32_t kMostHeapKib = 256 << 10;

std::string pcre2_message(int code) {
    PCRE2_UCHAR text[256];
    pcre2_get_error_message(code, text, sizeof text);
    return reinterpret_cast<const char*>(text);
}

struct FreeMatchData {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeMatchContext {
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

// Only read once it is made, so all threads share it.
pcre2_match_context* limits() {
    static const std::unique_ptr<pcre2_match_context, FreeMatchContext> context = [] {
        std::unique_ptr<pcre2_match_context, FreeMatchContext> made(pcre2_match_context_create(nullptr));
        pcre2_set_match_limit(made.get(), kMostSteps);
        pcre2_set_depth_limit(made.get(), kMostSteps);
        pcre2_set_heap_limit(made.get(), kMostHeapKib);
        return made;
    }();
    return context.get();
}

pcre2_code* compiled(const std::string& pattern, const std::string& shown) {
    constexpr uint32_t kOptions =
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE;
    int error = 0;
    size_t where = 0;
    pcre2_code* code =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), kOptions, &error, &where, nullptr);
    require(code != nullptr, "regular expression '{}' is not valid at byte {}: {}", shown, where, pcre2_message(error));
    return code;
}

}  // namespace

Regex::Regex(const std::string& pattern) : shown_(shown(pattern)) {
    require(pattern.size() <= kMostBytes, "regular expression '{}': expected at most {} bytes, got {}", shown_,
            kMostBytes, pattern.size());
    pcre2_code* code = compiled(pcre2_pattern(pattern), shown_);
    code_ = std::shared_ptr<const void>(
        code, [](const void* owned) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(owned))); });
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT, pcre2_match interprets
}

// An empty match where the last one ended would be found for ever; the search goes on a character later.
std::vector<TextRange> Regex::find_all(std::string_view text) const {
    const auto* code = static_cast<const pcre2_code*>(code_.get());
    const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create_from_pattern(code, nullptr));
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    std::vector<TextRange> matches;
    for (size_t at = 0; at <= text.size() && !text.empty();) {
        int found = pcre2_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK, data.get(), limits());
        if (found == PCRE2_ERROR_JIT_STACKLIMIT)  // the interpreter keeps its stack on the heap
            found =
                pcre2_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(), limits());
        if (found == PCRE2_ERROR_NOMATCH) break;
        require(found > 0, "regular expression '{}' failed at byte {} of a text of {} bytes: {}", shown_, at,
                text.size(), pcre2_message(found));
        const size_t* bounds = pcre2_get_ovector_pointer(data.get());
        const TextRange match{bounds[0], bounds[1]};
        const bool again = match.begin == match.end && !matches.empty() && matches.back().end == match.end;
        if (!again) matches.push_back(match);
        at = !again ? match.end : at < text.size() ? at + static_cast<size_t>(utf8_length(text[at])) : at + 1;
    }
    return matches;
}

std::string Regex::quote(std::string_view text) {
    std::string pattern;
    for (const char c : text) {
        const bool plain = static_cast<unsigned char>(c) >= 0x80 || std::isalnum(static_cast<unsigned char>(c)) != 0;
        if (!plain) pattern += '\\';
        pattern += c;
    }
    return pattern;
}

}  // namespace ggq
