#include "models/text/unigram.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ggq/io/json_fields.h"
#include "ggq/io/utf8.h"

namespace ggq {

Unigram::Unigram(const nlohmann::json& model, const Vocabulary& vocabulary)
    : unknown_(unknown_id(model, vocabulary)),
      byte_fallback_(JsonFields(model, "model").flag_or("byte_fallback", false)) {
    constexpr float kUnknownPenalty = 10;
    byte_ids_.fill(-1);
    for (const auto& [text, id] : vocabulary)
        if (const int byte = byte_of_fallback_token(text); byte >= 0) byte_ids_[static_cast<size_t>(byte)] = id;
    std::vector<ScoredToken> pieces = scored_tokens(model.value("scores", nlohmann::json()), vocabulary);
    float lowest = pieces.empty() ? 0 : pieces.front().score;
    for (const ScoredToken& piece : pieces) lowest = std::min(lowest, piece.score);
    unknown_score_ = lowest - kUnknownPenalty;
    pieces_ = PrefixRows<ScoredToken, &ScoredToken::text>(std::move(pieces));
}

std::vector<Unigram::Cut> Unigram::best_cuts(std::string_view word) const {
    std::vector<Cut> cuts(word.size() + 1);
    for (size_t at = 0, n_bytes = 0; at < word.size(); at += n_bytes) {
        n_bytes = static_cast<size_t>(utf8_length(word[at]));
        bool has_character = false;
        const auto offer = [&](size_t end, float score, int32_t id) {
            Cut& cut = cuts[end];
            const float sum = cuts[at].score + score;
            if (cut.begin == Cut::kNone || sum > cut.score) cut = {sum, id, at};
        };
        pieces_.each_at(word, at, [&](const ScoredToken& piece) {
            offer(at + piece.text.size(), piece.score, piece.id);
            has_character |= piece.text.size() == n_bytes;
        });
        if (!has_character) offer(at + n_bytes, unknown_score_, -1);
    }
    return cuts;
}

int64_t Unigram::append_unknown(std::string_view word, Token token, std::vector<Token>& tokens,
                                bool after_unknown) const {
    const std::string_view bytes = word.substr(token.begin, token.end - token.begin);
    const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
    if (byte_fallback_ && std::ranges::all_of(bytes, [&](char c) { return byte_id(c) >= 0; })) {
        for (size_t i = 0; i < bytes.size(); ++i)
            tokens.push_back({byte_id(bytes[i]), token.begin + i, token.begin + i + 1});
        return 0;
    }
    if (unknown_ < 0) return static_cast<int64_t>(bytes.size());
    if (after_unknown && !tokens.empty() && tokens.back().id == unknown_) tokens.back().end = token.end;
    else tokens.push_back({unknown_, token.begin, token.end});
    return 0;
}

int64_t Unigram::encode(std::string_view word, size_t offset, std::vector<Token>& tokens) const {
    const std::vector<Cut> cuts = best_cuts(word);
    std::vector<Token> found;
    for (size_t end = word.size(); end > 0; end = cuts[end].begin)
        found.push_back({cuts[end].id, cuts[end].begin, end});
    int64_t n_dropped = 0;
    std::vector<Token> own;
    bool after_unknown = false;
    for (auto token = found.rbegin(); token != found.rend(); ++token) {
        if (token->id >= 0) own.push_back(*token);
        else n_dropped += append_unknown(word, *token, own, after_unknown);
        after_unknown = token->id < 0;
    }
    for (const Token& token : own) tokens.push_back({token.id, offset + token.begin, offset + token.end});
    return n_dropped;
}

}  // namespace ggq
