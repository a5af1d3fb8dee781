#include "models/text/added_tokens.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/utf8.h"
#include "models/text/tokenizer_json.h"

namespace ggq {

namespace {

constexpr size_t kMostContent = 1024;

// As the Rust crate regex has \w.
bool is_word_character(std::string_view text, size_t at) {
    static const Regex word(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}])");
    return !word.find_all(text.substr(at, static_cast<size_t>(utf8_length(text[at])))).empty();
}

bool stands_alone(std::string_view text, TextRange range) {
    const bool word_before = range.begin > 0 && is_word_character(text, utf8_previous(text, range.begin));
    const bool word_after = range.end < text.size() && is_word_character(text, range.end);
    return !word_before && !word_after;
}

}  // namespace

AddedToken added_token_from_json(const nlohmann::json& json) {
    const JsonFields unnamed(json, "an added token");
    if (!unnamed.find("content")) unnamed.refuse("content", "a text");
    AddedToken token;
    if (json.contains("id")) token.id = token_id(json["id"], "an added token");
    token.content = unnamed.text_or("content", "");
    require(token.content.size() <= kMostContent, "added token '{}': expected at most {} bytes, got {}",
            shown(token.content), kMostContent, token.content.size());
    const JsonFields fields(json, "added token '" + shown(token.content) + "'");
    token.special = fields.flag_or("special", false);
    token.normalized = fields.flag_or("normalized", !token.special);
    token.single_word = fields.flag_or("single_word", false);
    token.left_strip = fields.flag_or("lstrip", false);
    token.right_strip = fields.flag_or("rstrip", false);
    return token;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {}

const AddedToken* AddedTokens::match_at(std::string_view text, size_t at) const {
    const AddedToken* longest = nullptr;
    tokens_.each_at(text, at, [&](const AddedToken& token) { longest = &token; });
    return longest;
}

TextRange AddedTokens::widened(std::string_view text, TextRange range, const AddedToken& token, size_t floor) const {
    while (token.left_strip && range.begin > floor) {
        const size_t before = utf8_previous(text, range.begin);
        if (!is_white_space(utf8_code_point(text, before))) break;
        range.begin = before;
    }
    while (token.right_strip && range.end < text.size() && is_white_space(utf8_code_point(text, range.end))) {
        range.end += static_cast<size_t>(utf8_length(text[range.end]));
    }
    return range;
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text, bool parse_special) const {
    std::vector<Part> parts;
    size_t plain = 0;  // where the plain text since the last token begins
    for (size_t at = 0; at < text.size();) {
        const AddedToken* token = match_at(text, at);
        if (token == nullptr) {
            ++at;
            continue;
        }
        const TextRange match{at, at + token->content.size()};
        at = match.end;
        if (token->special && !parse_special) continue;
        if (token->single_word && !stands_alone(text, match)) continue;
        const TextRange range = widened(text, match, *token, plain);
        if (range.begin > plain) parts.push_back({{plain, range.begin}, -1});
        parts.push_back({range, token->id});
        at = plain = range.end;
    }
    if (plain < text.size()) parts.push_back({{plain, text.size()}, -1});
    return parts;
}

}  // namespace ggq
