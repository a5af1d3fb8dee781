#include "models/text/added_tokens.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ggq/io/utf8.h"

namespace ggq {

namespace {

bool is_word_character(std::string_view text, size_t at) {
    static const Regex word(R"(\w)");
    return !word.find_all(text.substr(at, static_cast<size_t>(utf8_length(text[at])))).empty();
}

bool stands_alone(std::string_view text, TextRange range) {
    const bool word_before = range.begin > 0 && is_word_character(text, utf8_previous(text, range.begin));
    const bool word_after = range.end < text.size() && is_word_character(text, range.end);
    return !word_before && !word_after;
}

}  // namespace

AddedToken added_token_from_json(const nlohmann::json& json) {
    AddedToken token;
    token.id = json.value("id", -1);
    token.content = json.at("content");
    token.special = json.value("special", false);
    token.normalized = json.value("normalized", !token.special);
    token.single_word = json.value("single_word", false);
    token.left_strip = json.value("lstrip", false);
    token.right_strip = json.value("rstrip", false);
    return token;
}

void AddedTokens::add(AddedToken token) {
    if (token.content.empty()) return;
    auto& same_start = by_first_byte_[static_cast<unsigned char>(token.content[0])];
    const auto shorter = std::find_if(same_start.begin(), same_start.end(), [&](size_t index) {
        return tokens_[index].content.size() < token.content.size();
    });
    same_start.insert(shorter, tokens_.size());
    tokens_.push_back(std::move(token));
}

const AddedToken* AddedTokens::match_at(std::string_view text, size_t at) const {
    for (const size_t index : by_first_byte_[static_cast<unsigned char>(text[at])]) {
        if (text.substr(at).starts_with(tokens_[index].content)) return &tokens_[index];
    }
    return nullptr;
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
