// The pre-tokenizer of a tokenizer.json: cuts a text into words, across whose borders nothing is merged.
//
// Split (by a pattern, five ways of keeping what matched), ByteLevel (GPT-2's expression, or none), Metaspace, Digits,
// Whitespace, WhitespaceSplit and sequences of them. ByteLevel's alphabet (space as "Ġ") is undone in the vocabulary
// when it is loaded (bpe.h), so words stay plain text here.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "models/text/aligned_text.h"

namespace ggq {

struct SplitText {
    AlignedText text;
    std::vector<TextRange> ranges;  // in order; what lies between them is not tokenized
};

class PreTokenizer {
public:
    PreTokenizer() = default;
    explicit PreTokenizer(const nlohmann::json& json);

    SplitText split(AlignedText text) const;
    bool byte_level() const { return byte_level_; }

private:
    using Step = std::function<void(SplitText&)>;
    std::vector<Step> steps_;
    bool byte_level_ = false;
};

}  // namespace ggq
