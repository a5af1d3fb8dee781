// A regular expression over UTF-8 text (PCRE2 with Unicode properties), as tokenizer files use them.
// Those files are written for Oniguruma's Ruby syntax; the difference that matters is set here: ^ and $ match at lines.
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

    // All matches that are not empty, from left to right; `text` must be valid UTF-8.
    std::vector<TextRange> find_all(std::string_view text) const;

    // The same pattern that matches exactly `text`, for patterns given as plain strings.
    static std::string quote(std::string_view text);

private:
    std::string pattern_;
    std::shared_ptr<const void> code_;  // pcre2_code, freed with the last copy
};

}  // namespace ggq
