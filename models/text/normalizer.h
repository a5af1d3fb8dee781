// The normalizer of a tokenizer.json: changes the text before it is cut (Prepend, Replace, Strip and sequences of
// them). Unicode's normal forms and case mapping are refused: they need tables that are not here, and so is what makes
// a text many times as long: 16 bytes for one are more than any writing needs.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "models/text/aligned_text.h"

namespace ggq {

class Normalizer {
public:
    Normalizer() = default;
    explicit Normalizer(const nlohmann::json& json);

    AlignedText apply(AlignedText text) const;

private:
    using Step = std::function<AlignedText(const AlignedText& text, size_t most_bytes)>;
    std::vector<Step> steps_;
};

}  // namespace ggq
