#include "models/text/token.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/utf8.h"

namespace ggq {

std::vector<ScoredToken> scored_tokens(const nlohmann::json& scores, const Vocabulary& vocabulary) {
    require(scores.is_array(), "model: scores must be a list by id, got {}", shown_json(scores));
    std::vector<ScoredToken> tokens;
    for (const auto& [text, id] : vocabulary) {
        const auto at = static_cast<size_t>(id);
        if (at >= scores.size() || scores[at].is_null()) continue;
        require(scores[at].is_number() && std::isfinite(scores[at].get<float>()),
                "model: score of token '{}': expected a finite number, got {}", shown(text), shown_json(scores[at]));
        tokens.push_back({text, id, scores[at].get<float>()});
    }
    std::ranges::sort(tokens, {}, &ScoredToken::id);
    return tokens;
}

int32_t unknown_id(const nlohmann::json& model, const Vocabulary& vocabulary) {
    const auto unknown = model.value("unk_token", nlohmann::json());
    if (!unknown.is_string()) return -1;
    const auto found = vocabulary.find(unknown.get_ref<const std::string&>());
    require(found != vocabulary.end(), "model: token '{}' of unk_token is not in the vocab",
            shown(unknown.get_ref<const std::string&>()));
    return found->second;
}

int byte_of_fallback_token(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
    const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; };
    const int high = digit(token[3]), low = digit(token[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}  // namespace ggq
