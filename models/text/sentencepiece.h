// Vocabularies of SentencePiece: pieces with scores, and what is done to a text before it is cut into them.
//
// They are told as the tokenizer.json (tokenizer.h) that gives the same tokens as SentencePiece does. Pieces of the
// type unused are never found.
// Source: sentencepiece, src/sentencepiece_model.proto.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ggq {

// By the numbers of the files, those of GGUF too.
enum class PieceType : uint8_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct Piece {
    std::string text;  // "▁the"
    float score = 0;
    PieceType type = PieceType::normal;
};

struct PieceVocabulary {
    std::vector<Piece> pieces;  // by id
    bool unigram = false;       // else BPE
    bool byte_fallback = false;
    bool add_dummy_prefix = true;  // a space in front of a text
    bool remove_extra_whitespaces = true;
    bool escape_whitespaces = true;  // spaces are "▁"
    // The dummy prefix stands behind special tokens too, as in llama.cpp and in older versions of transformers.
    bool prefix_every_part = false;
    std::string character_map;  // charsmap.h; empty: none
    std::optional<int32_t> bos, eos;

    std::string text_of(std::optional<int32_t> id) const;  // empty where there is none
};

nlohmann::json tokenizer_json(const PieceVocabulary& vocabulary);

// A tokenizer.model; `where` names it in errors.
PieceVocabulary parse_sentencepiece(std::string_view file, const std::string& where);

}  // namespace ggq
