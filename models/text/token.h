// What the models of a tokenizer (bpe.h, unigram.h) take and give: a vocabulary, and tokens with the bytes they stand
// for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ggq {

struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
using Vocabulary = std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>>;

// One token and the bytes that it stands for, [begin, end).
struct Token {
    int32_t id;
    size_t begin;
    size_t end;
    bool operator==(const Token&) const = default;
};

// A token that has a score and so may be found in a text; control, byte and unused ones have none.
struct ScoredToken {
    std::string text;
    int32_t id = -1;
    float score = 0;
};

// `scores` is a list by id of numbers and, for tokens without one, null. In the order of ids.
std::vector<ScoredToken> scored_tokens(const nlohmann::json& scores, const Vocabulary& vocabulary);

// The id of "unk_token", -1 if `model` names none.
int32_t unknown_id(const nlohmann::json& model, const Vocabulary& vocabulary);

// The byte of a token "<0x41>", -1 for any other token.
int byte_of_fallback_token(std::string_view token);

}  // namespace ggq
