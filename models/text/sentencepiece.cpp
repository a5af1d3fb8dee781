#include "models/text/sentencepiece.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/protobuf_reader.h"
#include "ggq/io/utf8.h"
#include "models/text/normalizer.h"

namespace ggq {

namespace {

using nlohmann::json;

constexpr const char* kMark = "▁";
constexpr int32_t kMostPieces = 1 << 24;

json replace(const char* kind, const char* pattern, const char* content) {
    return {{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
}

json normalizer_of(const PieceVocabulary& v) {
    json steps = json::array();
    if (!v.character_map.empty()) {
        const std::vector<uint8_t> bytes(v.character_map.begin(), v.character_map.end());
        steps.push_back({{"type", kCharacterMap}, {"map", json::binary(bytes)}});
    }
    if (v.remove_extra_whitespaces) {  // spaces only; what the map has not made one stays
        steps.push_back(replace("Regex", R"(\A +| +\z)", ""));
        steps.push_back(replace("Regex", " {2,}", " "));
    }
    if (v.add_dummy_prefix)
        steps.push_back(
            {{"type", "Prepend"}, {"prepend", v.escape_whitespaces ? kMark : " "}, {kFirstOnly, !v.prefix_every_part}});
    if (v.escape_whitespaces) steps.push_back(replace("String", " ", kMark));
    return {{"type", "Sequence"}, {"normalizers", steps}};
}

json decoder_of(const PieceVocabulary& v) {
    json steps = json::array();
    if (v.escape_whitespaces) steps.push_back(replace("String", kMark, " "));
    steps.push_back({{"type", "ByteFallback"}});
    steps.push_back({{"type", "Fuse"}});
    if (v.add_dummy_prefix) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    return {{"type", "Sequence"}, {"decoders", steps}};
}

// User-defined pieces are cut out of the text as it is after normalization, whose prefix stands before all of it; but
// where every part has a prefix of its own, they part the text.
json added_token(const Piece& piece, size_t id, const PieceVocabulary& v) {
    const bool special = piece.type != PieceType::user_defined;
    return {
        {"id", id}, {"content", piece.text}, {"special", special}, {"normalized", !special && !v.prefix_every_part}};
}

bool is_added(PieceType type) {
    return type == PieceType::unknown || type == PieceType::control || type == PieceType::user_defined;
}

Piece parse_piece(std::string_view message, const std::string& where) {
    Piece piece;
    ProtobufReader reader(message, where);
    while (const auto field = reader.next()) {
        if (field->id == 1) piece.text = field->as_bytes();
        if (field->id == 2) piece.score = field->as_float();
        if (field->id != 3) continue;
        const int32_t type = field->as_int32();
        require(type >= 1 && type <= 6, "{}: piece '{}': expected a type of 1 to 6, got {}", where, shown(piece.text),
                type);
        piece.type = static_cast<PieceType>(type);
    }
    require(!piece.text.empty() && !invalid_utf8(piece.text), "{}: piece '{}': expected a text in UTF-8", where,
            shown(piece.text));
    require(std::isfinite(piece.score), "{}: piece '{}': its score is no finite number", where, shown(piece.text));
    return piece;
}

struct TrainerSpec {
    int32_t model_type = 1, unk = 0, bos = 1, eos = 2;
};

void parse_trainer_spec(std::string_view message, const std::string& where, TrainerSpec& spec, PieceVocabulary& v) {
    ProtobufReader reader(message, where);
    while (const auto field = reader.next()) {
        switch (field->id) {
            case 3: spec.model_type = field->as_int32(); break;
            case 24: require(!field->as_flag(), "{}: treat_whitespace_as_suffix is not supported", where); break;
            case 35: v.byte_fallback = field->as_flag(); break;
            case 40: spec.unk = field->as_int32(); break;
            case 41: spec.bos = field->as_int32(); break;
            case 42: spec.eos = field->as_int32(); break;
            default: break;
        }
    }
}

void parse_normalizer_spec(std::string_view message, const std::string& where, PieceVocabulary& v) {
    ProtobufReader reader(message, where);
    while (const auto field = reader.next()) {
        switch (field->id) {
            case 2: v.character_map = field->as_bytes(); break;
            case 3: v.add_dummy_prefix = field->as_flag(); break;
            case 4: v.remove_extra_whitespaces = field->as_flag(); break;
            case 5: v.escape_whitespaces = field->as_flag(); break;
            default: break;
        }
    }
}

// The id of a special token that the trainer was told of, if it made one.
std::optional<int32_t> control_id(int32_t id, const PieceVocabulary& v) {
    const bool there = id >= 0 && id < std::ssize(v.pieces);
    if (!there || v.pieces[static_cast<size_t>(id)].type != PieceType::control) return std::nullopt;
    return id;
}

}  // namespace

std::string PieceVocabulary::text_of(std::optional<int32_t> id) const {
    return id && *id >= 0 && *id < std::ssize(pieces) ? pieces[static_cast<size_t>(*id)].text : std::string();
}

json tokenizer_json(const PieceVocabulary& v) {
    json vocab = json::object(), scores = json::array(), added = json::array(), unknown = nullptr;
    for (size_t id = 0; id < v.pieces.size(); ++id) {
        const Piece& piece = v.pieces[id];
        scores.push_back(piece.type == PieceType::normal ? json(piece.score) : json(nullptr));
        if (piece.text.empty() || !vocab.emplace(piece.text, id).second) continue;  // of two with one text the first
        if (is_added(piece.type)) added.push_back(added_token(piece, id, v));
        if (piece.type == PieceType::unknown && unknown.is_null()) unknown = piece.text;
    }
    return {{"model",
             {{"type", v.unigram ? "Unigram" : "BPE"},
              {"vocab", vocab},
              {"scores", scores},
              {"unk_token", unknown},
              {"fuse_unk", true},
              {"byte_fallback", v.byte_fallback}}},
            {"added_tokens", added},
            {"normalizer", normalizer_of(v)},
            {"decoder", decoder_of(v)}};
}

PieceVocabulary parse_sentencepiece(std::string_view file, const std::string& where) {
    PieceVocabulary v;
    TrainerSpec spec;
    ProtobufReader reader(file, where);
    while (const auto field = reader.next()) {
        if (field->id == 1) v.pieces.push_back(parse_piece(field->as_bytes(), where));
        if (field->id == 2) parse_trainer_spec(field->as_bytes(), where, spec, v);
        if (field->id == 3) parse_normalizer_spec(field->as_bytes(), where, v);
        require(std::ssize(v.pieces) <= kMostPieces, "{}: expected at most {} pieces, got more", where, kMostPieces);
    }
    require(!v.pieces.empty(), "{}: expected a SentencePiece model, found no pieces in it", where);
    require(spec.model_type == 1 || spec.model_type == 2,
            "{}: model_type {} is not supported; supported are 1 (unigram) and 2 (BPE)", where, spec.model_type);
    v.unigram = spec.model_type == 1;
    v.bos = control_id(spec.bos, v);
    v.eos = control_id(spec.eos, v);
    return v;
}

}  // namespace ggq
