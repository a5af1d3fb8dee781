#include "models/text/aligned_text.h"

#include <numeric>

namespace ggq {

AlignedText::AlignedText(std::string_view original, TextRange part)
    : text_(original.substr(part.begin, part.end - part.begin)), origin_(text_.size()), end_(part.end) {
    std::iota(origin_.begin(), origin_.end(), part.begin);
}

void AlignedText::append(const AlignedText& source, TextRange part) {
    text_ += source.part(part);
    const auto first = source.origin_.begin();
    origin_.insert(origin_.end(), first + static_cast<std::ptrdiff_t>(part.begin),
                   first + static_cast<std::ptrdiff_t>(part.end));
    end_ = source.origin(part.end);
}

void AlignedText::insert_at_end(std::string_view content, size_t origin) {
    text_ += content;
    origin_.insert(origin_.end(), content.size(), origin);
    if (end_ < origin) end_ = origin;
}

AlignedText AlignedText::replaced(TextRange part, std::span<const TextRange> ranges, std::string_view content) const {
    AlignedText result;
    size_t at = part.begin;
    for (const TextRange& range : ranges) {
        result.append(*this, {at, range.begin});
        result.insert_at_end(content, origin(range.begin));
        at = range.end;
    }
    result.append(*this, {at, part.end});
    return result;
}

}  // namespace ggq
