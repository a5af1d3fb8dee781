#include "models/text/gguf_tokenizer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/text/sentencepiece.h"
#include "models/text/tiktoken.h"

namespace ggq {

namespace {

using nlohmann::json;

constexpr const char* kModel = "tokenizer.ggml.model";
constexpr const char* kTokens = "tokenizer.ggml.tokens";

constexpr const char* kGpt2Words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekkenWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// How a byte-level vocabulary cuts words: by these expressions, one after the other.
struct WordRow {
    std::vector<const char*> names;
    std::vector<const char*> words;
    bool whole_words = false;  // a word that is a token is taken as it is
    bool add_bos = false;      // where the file does not say
};

const std::vector<WordRow>& word_rows() {
    static const std::vector<WordRow> rows = {
        {{"default"}, {R"([\p{P}$+<=>^~|]+)", kGpt2Words, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
        {{"gpt-2", "phi-2", "mpt", "olmo"}, {kGpt2Words}},
        {{"llama-bpe", "llama3", "llama-v3", "falcon3"}, {kLlama3Words}, true, true},
        {{"dbrx", "smaug-bpe"}, {kLlama3Words}},
        {{"qwen2", "deepseek-r1-qwen", "stablelm2"}, {kQwen2Words}},
        {{"smollm", "starcoder", "refact", "command-r", "codeshell"}, {R"(\p{N})", kGpt2Words}},
        {{"tekken"}, {kTekkenWords}, true, true}};
    return rows;
}

const WordRow& word_row(const Gguf& gguf) {
    const std::string name = gguf.text("tokenizer.ggml.pre").value_or("default");
    std::vector<std::string_view> known;
    for (const WordRow& row : word_rows()) {
        if (std::ranges::find(row.names, name, [](const char* n) { return std::string(n); }) != row.names.end())
            return row;
        known.insert(known.end(), row.names.begin(), row.names.end());
    }
    fail("{}: tokenizer.ggml.pre '{}', a way of cutting words, is not known; known are {}", gguf.where, shown(name),
         fmt::join(known, ", "));
}

enum class Kind { sentencepiece, byte_level };

Kind kind_of(const Gguf& gguf) {
    const std::string model = gguf.text(kModel).value_or("none");
    if (model == "llama") return Kind::sentencepiece;
    if (model == "gpt2") return Kind::byte_level;
    fail("{}: a vocabulary of the kind '{}' is not supported; supported are llama and gpt2", gguf.where, shown(model));
}

// A list with a value for each token; shorter or longer ones are refused, absent ones are not.
template <typename Value>
const std::vector<Value>& per_token(const Gguf& gguf, const char* key, const std::vector<Value>& values) {
    const size_t n = gguf.texts(kTokens).size();
    require(values.empty() || values.size() == n, "{}: {} has {} values for {} tokens", gguf.where, key, values.size(),
            n);
    return values;
}

std::vector<Piece> pieces_of(const Gguf& gguf) {
    constexpr const char *kScores = "tokenizer.ggml.scores", *kTypes = "tokenizer.ggml.token_type";
    const auto& scores = per_token(gguf, kScores, gguf.numbers(kScores));
    const auto& types = per_token(gguf, kTypes, gguf.integers(kTypes));
    std::vector<Piece> pieces;
    for (const std::string& text : gguf.texts(kTokens)) {
        const size_t id = pieces.size();
        require(!invalid_utf8(text), "{}: token {}: '{}' is not valid UTF-8", gguf.where, id, shown(text));
        Piece piece{text, scores.empty() ? 0 : scores[id]};
        require(std::isfinite(piece.score), "{}: token '{}': its score is no finite number", gguf.where, shown(text));
        // 0 (undefined) stands in old files; llama.cpp takes it for a token like others.
        if (!types.empty() && types[id] >= 1 && types[id] <= 6) piece.type = static_cast<PieceType>(types[id]);
        pieces.push_back(std::move(piece));
    }
    require(!pieces.empty(), "{}: expected a vocabulary, found no {}", gguf.where, kTokens);
    return pieces;
}

json sentencepiece_json(const Gguf& gguf) {
    PieceVocabulary vocabulary;
    vocabulary.pieces = pieces_of(gguf);
    vocabulary.byte_fallback = true;
    vocabulary.prefix_every_part = true;
    vocabulary.add_dummy_prefix = gguf.flag("tokenizer.ggml.add_space_prefix").value_or(true);
    vocabulary.remove_extra_whitespaces = gguf.flag("tokenizer.ggml.remove_extra_whitespaces").value_or(false);
    for (Piece& piece : vocabulary.pieces)  // found in texts as they are
        if (piece.type == PieceType::unused) piece.type = PieceType::normal;
    return tokenizer_json(vocabulary);
}

json cut_words(const WordRow& row, bool prefix) {
    json steps = json::array();
    for (const char* words : row.words)
        steps.push_back({{"type", "Split"}, {"pattern", {{"Regex", words}}}, {"behavior", "Isolated"}});
    steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"use_regex", false}});
    return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

json byte_level_json(const Gguf& gguf) {
    const WordRow& row = word_row(gguf);
    json vocab = json::object(), added = json::array();
    size_t id = 0;
    for (const Piece& piece : pieces_of(gguf)) {
        const bool is_new = !piece.text.empty() && vocab.emplace(piece.text, id).second;
        const bool special = piece.type == PieceType::control || piece.type == PieceType::unknown;
        if (is_new && (special || piece.type == PieceType::user_defined))
            added.push_back({{"id", id}, {"content", piece.text}, {"special", special}, {"normalized", false}});
        ++id;
    }
    return {{"model",
             {{"type", "BPE"},
              {"vocab", vocab},
              {"merges", gguf.texts("tokenizer.ggml.merges")},
              {"ignore_merges", row.whole_words}}},
            {"added_tokens", added},
            {"pre_tokenizer", cut_words(row, gguf.flag("tokenizer.ggml.add_space_prefix").value_or(false))},
            {"decoder", {{"type", "ByteLevel"}}}};
}

}  // namespace

SpecialTokens special_tokens_of(const Gguf& gguf) {
    SpecialTokens special;
    const bool spm = kind_of(gguf) == Kind::sentencepiece;
    const std::vector<std::string>& tokens = gguf.texts(kTokens);
    constexpr std::pair<const char*, const char*> kNames[] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                                              {"eos_token", "tokenizer.ggml.eos_token_id"},
                                                              {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                                              {"pad_token", "tokenizer.ggml.padding_token_id"}};
    for (const auto& [name, key] : kNames) {
        std::optional<int32_t> id = gguf.token(key);
        if (!id && spm && std::string_view(name) == "bos_token") id = 1;  // what old files do not say
        if (!id && spm && std::string_view(name) == "eos_token") id = 2;
        if (id && *id < std::ssize(tokens)) special.texts.emplace_back(name, tokens[static_cast<size_t>(*id)]);
    }
    for (const auto& [name, token] : special.texts) {
        if (name == "bos_token") special.bos = token;
        if (name == "eos_token") special.eos = token;
    }
    special.add_bos = gguf.flag("tokenizer.ggml.add_bos_token").value_or(spm || word_row(gguf).add_bos);
    special.add_eos = gguf.flag("tokenizer.ggml.add_eos_token").value_or(false);
    special.chat_template = gguf.has("tokenizer.chat_template");
    return special;
}

Tokenizer tokenizer_of(const Gguf& gguf) {
    const json tokenizer = kind_of(gguf) == Kind::sentencepiece ? sentencepiece_json(gguf) : byte_level_json(gguf);
    return Tokenizer::make(tokenizer, special_tokens_of(gguf), gguf.where);
}

std::optional<ChatTemplate> chat_template_of(const Gguf& gguf) {
    const std::optional<std::string> source = gguf.text("tokenizer.chat_template");
    if (!source) return std::nullopt;
    return ChatTemplate(*source, gguf.where + ", tokenizer.chat_template", special_tokens_of(gguf).texts);
}

}  // namespace ggq
