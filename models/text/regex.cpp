#include "models/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cctype>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/text/regex_syntax.h"

namespace ggq {

namespace {

// An expression comes with a model: what it may take is bounded, so that none can hang a program or eat its memory.
constexpr size_t kMostBytes = 16 << 10;
constexpr uint32_t kUsualSteps = 1000;       // that a search may take from a place without being counted
constexpr uint32_t kMostSteps = 10'000'000;  // of all others in a text: a second or so
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

// The searches of one text, which share what they may take.
class Search {
public:
    Search(const pcre2_code* code, std::string_view text)
        : code_(code),
          text_(text),
          data_(pcre2_match_data_create_from_pattern(code, nullptr)),
          limits_(pcre2_match_context_create(nullptr)) {
        pcre2_set_depth_limit(limits_.get(), kMostSteps);
        pcre2_set_heap_limit(limits_.get(), kMostHeapKib);
    }

    // What pcre2_match returns. Few steps at first, then more and more: what it took cannot be asked.
    int run(size_t at) {
        for (uint32_t limit = kUsualSteps;; limit = std::min(limit * 32, left_)) {
            const int found = run(at, limit);
            if (found != PCRE2_ERROR_MATCHLIMIT || limit >= left_) return found;
            left_ -= limit;
        }
    }

    TextRange match() const {
        const size_t* bounds = pcre2_get_ovector_pointer(data_.get());
        return {bounds[0], bounds[1]};
    }

private:
    int run(size_t at, uint32_t limit) {
        pcre2_set_match_limit(limits_.get(), limit);
        const int found = run_once(at, PCRE2_NO_UTF_CHECK);
        // The interpreter keeps its stack on the heap.
        return found == PCRE2_ERROR_JIT_STACKLIMIT ? run_once(at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT) : found;
    }

    int run_once(size_t at, uint32_t options) {
        return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), at, options, data_.get(),
                           limits_.get());
    }

    const pcre2_code* code_;
    std::string_view text_;
    std::unique_ptr<pcre2_match_data, FreeMatchData> data_;
    std::unique_ptr<pcre2_match_context, FreeMatchContext> limits_;
    uint32_t left_ = kMostSteps;
};

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
    Search search(static_cast<const pcre2_code*>(code_.get()), text);
    std::vector<TextRange> matches;
    for (size_t at = 0; at <= text.size() && !text.empty();) {
        const int found = search.run(at);
        if (found == PCRE2_ERROR_NOMATCH) break;
        require(found > 0, "regular expression '{}' failed at byte {} of a text of {} bytes: {}", shown_, at,
                text.size(), pcre2_message(found));
        const TextRange match = search.match();
        const bool again = match.begin == match.end && !matches.empty() && matches.back().end == match.end;
        if (!again) matches.push_back(match);
        if (!again) at = match.end;
        else at += at < text.size() ? static_cast<size_t>(utf8_length(text[at])) : 1;
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
