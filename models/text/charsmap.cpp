#include "models/text/charsmap.h"

#include "ggq/error.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

uint32_t u32_at(std::string_view bytes, size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value |= uint32_t{static_cast<unsigned char>(bytes[at + i])} << 8 * i;
    return value;
}

uint32_t label(uint32_t unit) { return unit & (1U << 31 | 0xFFU); }
uint32_t offset(uint32_t unit) { return unit >> 10 << ((unit & 1U << 9) >> 6); }
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1U) != 0; }

}  // namespace

CharacterMap::CharacterMap(std::string_view blob) {
    require(blob.size() >= 4, "character map: expected 4 bytes or more, got {}", blob.size());
    const uint32_t n_bytes = u32_at(blob, 0);
    require(n_bytes > 0 && n_bytes % 4 == 0 && n_bytes <= blob.size() - 4,
            "character map: expected a trie of a multiple of 4 bytes within {}, got {}", blob.size() - 4, n_bytes);
    trie_.reserve(n_bytes / 4);
    for (size_t at = 4; at < 4 + size_t{n_bytes}; at += 4) trie_.push_back(u32_at(blob, at));
    texts_ = blob.substr(4 + size_t{n_bytes});
    const auto bad = invalid_utf8(texts_);
    require(!bad && (texts_.empty() || texts_.back() == '\0'),
            "character map: its texts are not valid UTF-8, or the last one does not end");
}

CharacterMap::Match CharacterMap::longest_at(std::string_view text, size_t at) const {
    Match longest;
    uint32_t node = offset(trie_[0]);
    for (size_t n = 1; at + n <= text.size(); ++n) {
        const uint32_t byte = static_cast<unsigned char>(text[at + n - 1]);
        node ^= byte;
        if (node >= trie_.size() || label(trie_[node]) != byte) break;
        const uint32_t unit = trie_[node];
        node ^= offset(unit);
        // A match ends where a character does: a map cannot break a text's UTF-8.
        const bool whole = at + n == text.size() || utf8_length(text[at + n]) > 0;
        if (has_leaf(unit) && whole && node < trie_.size()) longest = {n, trie_[node] & ~(1U << 31)};
    }
    return longest;
}

std::string_view CharacterMap::text_at(uint32_t to) const {
    require(to < texts_.size() && utf8_length(texts_[to]) > 0, "character map: no text begins at {}", to);
    return texts_.c_str() + to;
}

AlignedText CharacterMap::apply(const AlignedText& text, size_t most_bytes) const {
    AlignedText result;
    for (size_t at = 0; at < text.size();) {
        const Match match = longest_at(text.text(), at);
        if (match.n_bytes > 0) {
            result.insert_at_end(text_at(match.to), text.origin(at));
            at += match.n_bytes;
        } else {
            const size_t end = at + static_cast<size_t>(utf8_length(text.text()[at]));
            result.append(text, {at, end});
            at = end;
        }
        require(result.size() <= most_bytes, "character map: makes more than {} bytes of text out of {}", most_bytes,
                text.size());
    }
    result.append(text, {text.size(), text.size()});  // for where the text ends
    return result;
}

}  // namespace ggq
