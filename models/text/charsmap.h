// The character map of a SentencePiece model (normalizer_spec.precompiled_charsmap): which beginnings of a text become
// which others, such as "ﬁ" -> "fi".
//
//   u32 bytes of the trie, the trie (u32 units), texts that end with NUL
//
// The trie is a double array as of darts-clone: unit & 0x800000FF is the label, bit 8 says that a leaf follows, the
// rest is the offset of the children; a leaf's low 31 bits are where its text begins. Of several that match the longest
// counts; a character that nothing matches stays. A map comes with a model: every index is compared with its size.
// Source: sentencepiece, src/normalizer.cc; darts-clone, include/darts.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "models/text/aligned_text.h"

namespace ggq {

class CharacterMap {
public:
    explicit CharacterMap(std::string_view blob);

    AlignedText apply(const AlignedText& text, size_t most_bytes) const;

private:
    struct Match {
        size_t n_bytes = 0;  // of the text; 0: none
        uint32_t to = 0;     // where what replaces them begins
    };
    Match longest_at(std::string_view text, size_t at) const;
    std::string_view text_at(uint32_t to) const;

    std::vector<uint32_t> trie_;
    std::string texts_;
};

}  // namespace ggq
