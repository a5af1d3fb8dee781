#include "models/text/normalizer.h"

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/utf8.h"
#include "models/text/tokenizer_json.h"

namespace ggq {

namespace {

constexpr size_t kMostGrowth = 16, kMostGrowthOfAny = 1024;

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

AlignedText replace(const AlignedText& text, const Regex& pattern, const std::string& content, size_t most) {
    const std::vector<TextRange> matches = pattern.find_all(text.text());
    const size_t n_bytes = text.size() + matches.size() * content.size();  // at most
    if (n_bytes <= most) return text.replaced({0, text.size()}, matches, content);
    size_t n_replaced = 0;
    for (const TextRange& match : matches) n_replaced += match.end - match.begin;
    require(n_bytes - n_replaced <= most, "normalizer Replace: makes {} bytes of text out of {}; expected at most {}",
            n_bytes - n_replaced, text.size(), most);
    return text.replaced({0, text.size()}, matches, content);
}

}  // namespace

Normalizer::Normalizer(const nlohmann::json& json) {
    for (const nlohmann::json* each : component_parts(json, "normalizer", "normalizers")) {
        const nlohmann::json& part = *each;
        const std::string type = component_type(part, "normalizer");
        if (type == "Prepend") {
            const std::string content = component_content(part, "normalizer Prepend", "prepend");
            steps_.push_back([content](const AlignedText& text, size_t) { return prepend(text, content); });
        } else if (type == "Replace") {
            const Regex pattern = component_pattern(part, "normalizer Replace");
            const std::string content = component_content(part, "normalizer Replace");
            steps_.push_back([pattern, content](const AlignedText& text, size_t most) {
                return replace(text, pattern, content, most);
            });
        } else if (type == "Strip") {
            const JsonFields fields(part, "normalizer Strip");
            const bool left = fields.flag_or("strip_left", true), right = fields.flag_or("strip_right", true);
            steps_.push_back([left, right](const AlignedText& text, size_t) { return strip(text, left, right); });
        } else {
            refuse_type("normalizer", type, "Prepend, Replace, Strip and Sequence");
        }
    }
}

AlignedText Normalizer::apply(AlignedText text) const {
    const size_t most = text.size() * kMostGrowth + kMostGrowthOfAny;
    for (const Step& step : steps_) text = step(text, most);
    return text;
}

}  // namespace ggq
