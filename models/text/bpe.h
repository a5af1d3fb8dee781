// Byte pair encoding: from a word to token ids by merging the pair of lowest rank again and again.
//
// Symbols begin as bytes (byte-level, Llama 3) or as characters, with <0xXX> tokens for characters that the vocabulary
// lacks (SentencePiece style, Llama 2). The pairs wait in a heap, so a word of n symbols takes O(n log n).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "models/text/token.h"

namespace ggq {

// A token of the byte-level alphabet ("Ġthe") as the bytes it stands for (" the"); as it is if it is not of the
// alphabet.
std::string byte_level_bytes(std::string_view token);

// The other way round: any bytes in letters of that alphabet.
std::string byte_level_token(std::string_view bytes);

class Bpe {
public:
    Bpe() = default;
    // `model` is the "model" of a tokenizer.json, `vocabulary` its vocab. In the place of merges it may have scores
    // (token.h), as SentencePiece and tiktoken do: then two symbols merge where a token is spelled like both together,
    // first those whose token has the highest score, of equal ones the leftmost.
    Bpe(const nlohmann::json& model, const Vocabulary& vocabulary, bool byte_level);

    // Appends the word's tokens with offsets from the word's first byte plus `offset`. Returns how many bytes were left
    // out: without unk_token, what the vocabulary has no token for is dropped, as the tokenizers library does.
    int64_t encode(std::string_view word, size_t offset, std::vector<Token>& tokens) const;

private:
    struct Merge {
        int32_t rank;
        int32_t id;
    };
    struct Symbol {
        Token token;
        int32_t previous;
        int32_t next;
    };
    struct Candidate {
        int32_t rank;
        int32_t left;
        int32_t id;
        bool operator>(const Candidate& other) const {
            return rank != other.rank ? rank > other.rank : left > other.left;
        }
    };

    void read_merges(const nlohmann::json& merges, const Vocabulary& vocabulary);
    void read_scores(std::vector<ScoredToken> tokens);
    void add_merges_of(const ScoredToken& token, int32_t rank);
    size_t symbol_bytes(char lead) const;
    void read_bytes(const Vocabulary& vocabulary);
    const Merge* find_merge(int32_t left, int32_t right) const;
    // The word's symbols, and how many of its bytes have none.
    std::pair<std::vector<Symbol>, int64_t> symbols_of(std::string_view word) const;
    bool append_character(std::vector<Symbol>& symbols, std::string_view character, size_t at) const;
    void merge(std::vector<Symbol>& symbols) const;

    bool byte_level_ = false;
    bool byte_fallback_ = false;
    bool fuse_unk_ = false;
    bool ignore_merges_ = false;
    int32_t unk_ = -1;
    Vocabulary ids_;                              // by the text that a token stands for
    std::array<int32_t, 256> byte_ids_{};         // of single bytes (byte-level) or of <0xXX>, -1 where there is none
    std::unordered_map<uint64_t, Merge> merges_;  // by left id << 32 | right id
};

}  // namespace ggq
