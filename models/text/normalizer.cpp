#include "models/text/normalizer.h"

#include <nlohmann/json.hpp>

#include "ggq/io/utf8.h"
#include "models/text/tokenizer_json.h"

namespace ggq {

namespace {

AlignedText prepend(const AlignedText& text, const std::string& content) {
    if (text.size() == 0) return text;
    const TextRange front{0, 0};
    return text.replaced({0, text.size()}, {&front, 1}, content);
}

AlignedText strip(const AlignedText& text, bool left, bool right) {
    size_t begin = 0, end = text.size();
    while (left && begin < end && is_white_space(utf8_code_point(text.text(), begin))) {
        begin += static_cast<size_t>(utf8_length(text.text()[begin]));
    }
    while (right && begin < end) {
        const size_t last = utf8_previous(text.text(), end);
        if (!is_white_space(utf8_code_point(text.text(), last))) break;
        end = last;
    }
    return text.replaced({begin, end}, {}, {});
}

}  // namespace

Normalizer::Normalizer(const nlohmann::json& json) {
    for (const auto& part : component_parts(json, "normalizer", "normalizers")) {
        const std::string type = component_type(part, "normalizer");
        if (type == "Prepend") {
            const std::string content = part.at("prepend");
            steps_.push_back([content](const AlignedText& text) { return prepend(text, content); });
        } else if (type == "Replace") {
            const Regex pattern = component_pattern(part, "normalizer Replace");
            const std::string content = part.at("content");
            steps_.push_back([pattern, content](const AlignedText& text) {
                return text.replaced({0, text.size()}, pattern.find_all(text.text()), content);
            });
        } else if (type == "Strip") {
            const bool left = part.at("strip_left"), right = part.at("strip_right");
            steps_.push_back([left, right](const AlignedText& text) { return strip(text, left, right); });
        } else {
            refuse_type("normalizer", type, "Prepend, Replace, Strip and Sequence");
        }
    }
}

AlignedText Normalizer::apply(AlignedText text) const {
    for (const Step& step : steps_) text = step(text);
    return text;
}

}  // namespace ggq
