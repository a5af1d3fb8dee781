// The normalizer of a tokenizer.json: changes the text before it is cut (Prepend, Replace, Strip, Unicode's normal
// forms and sequences of them). Case mapping is refused, and so is what makes a text many times as long: 16 bytes for
// one are more than any writing needs.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "models/text/aligned_text.h"

namespace ggq {

// What SentencePiece has beyond that, in JSON made in memory: a character map (charsmap.h) as bytes in "map", and a
// Prepend with this flag, which puts nothing behind an added token.
inline constexpr const char* kCharacterMap = "CharacterMap";
inline constexpr const char* kFirstOnly = "first_only";

class Normalizer {
public:
    Normalizer() = default;
    explicit Normalizer(const nlohmann::json& json);

    AlignedText apply(AlignedText text) const;

private:
    struct Place {
        size_t most_bytes;  // that the text may grow to
        bool first;         // no added token stands before
    };
    using Step = std::function<AlignedText(const AlignedText& text, const Place& place)>;
    std::vector<Step> steps_;
};

}  // namespace ggq
