// A regular expression over UTF-8 text (PCRE2 with Unicode properties), as tokenizer files use them.
// Those files are written for Oniguruma's Ruby syntax; regex_syntax.h tells what is rewritten and what is refused.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ggq {

// A part of a text in bytes: [begin, end).
struct TextRange {
    size_t begin;
    size_t end;
    bool operator==(const TextRange&) const = default;
};

class Regex {
public:
    explicit Regex(const std::string& pattern);

    // All matches from left to right, also empty ones that do not touch the one before; none in an empty text. `text`
    // must be valid UTF-8. Throws Error when the expression takes too many steps.
    std::vector<TextRange> find_all(std::string_view text) const;

    // The same pattern that matches exactly `text`, for patterns given as plain strings.
    static std::string quote(std::string_view text);

private:
    std::string shown_;                 // the pattern, in errors
    std::shared_ptr<const void> code_;  // pcre2_code, freed with the last copy
};

}  // namespace ggq
