// A text that remembers, for each of its bytes, where in the original text that byte comes from.
//
// Loss masks are given in characters of the original text, but tokens are cut from a text that normalizers have changed
// (" " became "▁", "▁" was put in front). Bytes that were inserted stand at the place where they were inserted.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/text/regex.h"

namespace ggq {

class AlignedText {
public:
    AlignedText() = default;
    AlignedText(std::string_view original, TextRange part);  // an unchanged part of the original text

    const std::string& text() const { return text_; }
    std::string_view part(TextRange range) const {
        return std::string_view(text_).substr(range.begin, range.end - range.begin);
    }
    size_t size() const { return text_.size(); }

    // Where the byte at `at` comes from; at size(), where the text ends.
    size_t origin(size_t at) const { return at < origin_.size() ? origin_[at] : end_; }

    void append(const AlignedText& source, TextRange part);
    void insert_at_end(std::string_view content, size_t origin);

    // The part with each of `ranges` (in order, inside it) replaced by `content`.
    AlignedText replaced(TextRange part, std::span<const TextRange> ranges, std::string_view content) const;

private:
    std::string text_;
    std::vector<size_t> origin_;  // [text_.size()]
    size_t end_ = 0;
};

}  // namespace ggq
