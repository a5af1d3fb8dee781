#include "models/text/normalizer.h"

#include <nlohmann/json.hpp>
#include <span>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"
#include "models/text/charsmap.h"
#include "models/text/tokenizer_json.h"
#include "models/text/unicode_form.h"

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
            const bool first_only = JsonFields(part, "normalizer Prepend").flag_or(kFirstOnly, false);
            steps_.push_back([content, first_only](const AlignedText& text, const Place& place) {
                return first_only && !place.first ? text : prepend(text, content);
            });
        } else if (type == "Replace") {
            const Regex pattern = component_pattern(part, "normalizer Replace");
            const std::string content = component_content(part, "normalizer Replace");
            steps_.push_back([pattern, content](const AlignedText& text, const Place& place) {
                return replace(text, pattern, content, place.most_bytes);
            });
        } else if (type == "Strip") {
            const JsonFields fields(part, "normalizer Strip");
            const bool left = fields.flag_or("strip_left", true), right = fields.flag_or("strip_right", true);
            steps_.push_back([left, right](const AlignedText& text, const Place&) { return strip(text, left, right); });
        } else if (const UnicodeForm form = unicode_form(type); form != UnicodeForm::none) {
            steps_.push_back([form](const AlignedText& text, const Place&) { return in_form(text, form); });
        } else if (type == kCharacterMap) {
            const nlohmann::json& blob = part.at("map");
            require(blob.is_binary(), "normalizer {}: expected bytes", kCharacterMap);
            const CharacterMap map(as_text(std::as_bytes(std::span(blob.get_binary()))));
            steps_.push_back(
                [map](const AlignedText& text, const Place& place) { return map.apply(text, place.most_bytes); });
        } else {
            refuse_type("normalizer", type, "NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip and Sequence");
        }
    }
}

AlignedText Normalizer::apply(AlignedText text) const {
    const Place place{text.size() * kMostGrowth + kMostGrowthOfAny, text.origin(0) == 0};
    for (const Step& step : steps_) text = step(text, place);
    return text;
}

}  // namespace ggq
