// The unigram model: of all ways to cut a word into pieces that the vocabulary has, the one whose scores (log
// probabilities) have the greatest sum.
//
// Of two ways with one sum the one whose last piece is longer counts. A character that no piece stands for is unknown,
// for 10 less than the lowest score of all; several of them in a row are one token, or are bytes (<0xXX>) where the
// model has these. Sums are in float. Source: sentencepiece, src/unigram_model.cc, EncodeOptimized().
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "models/text/prefix_rows.h"
#include "models/text/token.h"

namespace ggq {

class Unigram {
public:
    // `model` has scores (token.h), perhaps unk_token and byte_fallback.
    Unigram(const nlohmann::json& model, const Vocabulary& vocabulary);

    // As Bpe::encode: appends the word's tokens, and returns how many of its bytes none stands for.
    int64_t encode(std::string_view word, size_t offset, std::vector<Token>& tokens) const;

private:
    struct Cut {  // the best way to cut what stands before a place
        float score = 0;
        int32_t id = -1;  // of the last piece; -1: unknown
        size_t begin = kNone;
        static constexpr size_t kNone = ~size_t{0};
    };
    std::vector<Cut> best_cuts(std::string_view word) const;
    int64_t append_unknown(std::string_view word, Token token, std::vector<Token>& tokens, bool after_unknown) const;

    PrefixRows<ScoredToken, &ScoredToken::text> pieces_;
    float unknown_score_ = 0;
    int32_t unknown_ = -1;
    bool byte_fallback_ = false;
    std::array<int32_t, 256> byte_ids_{};  // of <0xXX>, -1 where there is none
};

}  // namespace ggq
