#include "models/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cctype>

#include "ggq/error.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

std::string pcre2_message(int code) {
    PCRE2_UCHAR text[256];
    pcre2_get_error_message(code, text, sizeof text);
    return reinterpret_cast<const char*>(text);
}

struct FreeMatchData {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

Regex::Regex(const std::string& pattern) : pattern_(pattern) {
    int error = 0;
    size_t where = 0;
    pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &where, nullptr);
    require(code != nullptr, "regular expression '{}' is not valid at byte {}: {}", pattern, where,
            pcre2_message(error));
    code_ = std::shared_ptr<const void>(
        code, [](const void* owned) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(owned))); });
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT, pcre2_match interprets
}

std::vector<TextRange> Regex::find_all(std::string_view text) const {
    const auto* code = static_cast<const pcre2_code*>(code_.get());
    const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create_from_pattern(code, nullptr));
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    std::vector<TextRange> matches;
    for (size_t at = 0; at < text.size();) {
        int found = pcre2_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK, data.get(), nullptr);
        if (found == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its stack on the heap
            found = pcre2_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(), nullptr);
        }
        if (found == PCRE2_ERROR_NOMATCH) break;
        require(found > 0, "regular expression '{}' failed at byte {} of a text of {} bytes: {}", pattern_, at,
                text.size(), pcre2_message(found));
        const size_t* bounds = pcre2_get_ovector_pointer(data.get());
        if (bounds[1] > bounds[0]) matches.push_back({bounds[0], bounds[1]});
        at = bounds[1] > at ? bounds[1] : at + static_cast<size_t>(utf8_length(text[at]));
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
