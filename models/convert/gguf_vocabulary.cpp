#include "models/convert/gguf_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"
#include "models/text/special_tokens.h"

namespace ggq {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr const char* kWordsOfLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kWordsOfQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct TokenList {
    std::vector<std::string> tokens;
    std::vector<int32_t> types;
};

class VocabularyWriter {
public:
    VocabularyWriter(const Model& model, GgufEntries& entries)
        : model_(model),
          entries_(entries),
          path_(model.folder / kTokenizerJson),
          json_(parse_json(read_side_file(path_), path_.string())),
          parts_(words_parts()) {}

    void write() {
        const json& bpe = json_.at("model");
        require(bpe.value("type", "BPE") == "BPE", "{}: llama.cpp's form of a vocabulary of the kind '{}' is not known",
                path_.string(), shown(bpe.value("type", "")));
        const bool by_bytes =
            std::ranges::any_of(parts_, [](const json& p) { return p.value("type", "") == "ByteLevel"; });
        entries_.text("tokenizer.ggml.model", by_bytes ? "gpt2" : "llama");
        entries_.text("tokenizer.ggml.pre", by_bytes ? words_name() : "default");
        const TokenList all = vocabulary(by_bytes);
        entries_.texts("tokenizer.ggml.tokens", all.tokens);
        if (!by_bytes) entries_.f32s("tokenizer.ggml.scores", scores(all));
        entries_.i32s("tokenizer.ggml.token_type", all.types);
        if (by_bytes) entries_.texts("tokenizer.ggml.merges", merges());
        write_ends(by_bytes);
        if (const std::string text = chat_template(); !text.empty()) entries_.text("tokenizer.chat_template", text);
    }

private:
    // The pre-tokenizer's steps, those of a sequence one by one.
    std::vector<json> words_parts() const {
        const json words = json_.value("pre_tokenizer", json());
        if (!words.is_object()) return {};
        if (words.value("type", "") != "Sequence") return {words};
        return words.value("pretokenizers", std::vector<json>{});
    }

    std::string words_name() const {
        std::string expression;
        bool digits = false, gpt2 = false;
        for (const json& part : parts_) {
            const std::string type = part.value("type", "");
            if (type == "Split" && part.contains("pattern")) expression += part["pattern"].value("Regex", "?");
            else if (type == "Digits") digits = part.value("individual_digits", false);
            else if (type == "ByteLevel") gpt2 = part.value("use_regex", true);
            else expression += "?";
        }
        if (expression == kWordsOfLlama3 && !gpt2) return "llama-bpe";
        if (expression == kWordsOfQwen2 && !gpt2) return "qwen2";
        if (expression.empty() && gpt2) return digits ? "smollm" : "gpt-2";
        fail("{}: cuts words in a way that llama.cpp has no name for, so it would make other tokens of a text",
             path_.string());
    }

    // One a row of the embedding.
    TokenList vocabulary(bool by_bytes) const {
        TokenList all;
        const std::string unknown =
            json_["model"].value("unk_token", json()).is_string() ? json_["model"]["unk_token"].get<std::string>() : "";
        for (int64_t id = 0; id < model_.config.vocab_size; ++id) {
            const bool known = id < model_.tokenizer.vocab_size();
            const std::string token = known ? model_.tokenizer.token_of(static_cast<int32_t>(id)) : "";
            if (token.empty()) {
                all.tokens.push_back(fmt::format("[PAD{}]", id));
                all.types.push_back(kUnused);
                continue;
            }
            all.tokens.push_back(token);
            all.types.push_back(type_of(token, static_cast<int32_t>(id), unknown, by_bytes));
        }
        for (const json& added : json_.value("added_tokens", json::array())) {
            const int64_t id = added.value("id", int64_t{-1});
            if (id >= 0 && id < std::ssize(all.types) && !added.value("special", false))
                all.types[static_cast<size_t>(id)] = kUserDefined;
        }
        return all;
    }

    int32_t type_of(const std::string& token, int32_t id, const std::string& unknown, bool by_bytes) const {
        if (!by_bytes && token == unknown) return kUnknown;
        if (model_.tokenizer.is_special(id)) return kControl;
        return !by_bytes && byte_of_fallback_token(token) >= 0 ? kByte : kNormal;
    }

    std::vector<std::string> merges() const {
        std::vector<std::string> list;
        for (const json& merge : json_["model"].value("merges", json::array()))
            list.push_back(merge.is_array() && merge.size() == 2
                               ? merge[0].get<std::string>() + " " + merge[1].get<std::string>()
                               : merge.get<std::string>());
        return list;
    }

    // The earlier a token is merged, the higher.
    std::vector<float> scores(const TokenList& all) const {
        std::map<std::string, float> of_token;
        float rank = 0;
        for (const std::string& merge : merges()) {
            const size_t space = merge.find(' ', 1);
            require(space != std::string::npos, "{}: the merge '{}' is no pair", path_.string(), shown(merge));
            of_token.emplace(merge.substr(0, space) + merge.substr(space + 1), -rank);
            ++rank;
        }
        std::vector<float> list;
        for (size_t id = 0; id < all.tokens.size(); ++id) {
            const auto found = of_token.find(all.tokens[id]);
            const bool piece = all.types[id] == kNormal || all.types[id] == kUserDefined;
            list.push_back(found != of_token.end() ? found->second : piece ? -rank - static_cast<float>(id) : 0);
        }
        return list;
    }

    void write_ends(bool by_bytes) {
        const Tokenizer& tokenizer = model_.tokenizer;
        const auto bos = tokenizer.bos_id(), eos = tokenizer.eos_id();
        const std::vector<int32_t> text = tokenizer.encode("a"), bare = tokenizer.encode("a", {.add_special = false});
        if (bos) entries_.u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(*bos));
        if (eos) entries_.u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(*eos));
        if (const json unknown = json_["model"].value("unk_token", json()); unknown.is_string())
            if (const auto id = tokenizer.id_of(unknown.get<std::string>()))
                entries_.u32("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(*id));
        entries_.flag("tokenizer.ggml.add_bos_token", bos && !text.empty() && text.front() == *bos);
        entries_.flag("tokenizer.ggml.add_eos_token", eos && text.size() > bare.size() && text.back() == *eos);
        if (!by_bytes)
            entries_.flag("tokenizer.ggml.add_space_prefix",
                          !bare.empty() && tokenizer.token_of(bare.front()).starts_with("\u2581"));
    }

    // Its text, of several the default one; empty: there is none.
    std::string chat_template() const {
        const fs::path file = model_.folder / kChatTemplates[0];
        if (is_there(file)) return read_side_file(file);
        const fs::path config = model_.folder / kTokenizerConfig;
        if (!is_there(config)) return "";
        const json content = parse_json(read_side_file(config), config.string());
        const json source = content.is_object() ? content.value("chat_template", json()) : json();
        if (source.is_string()) return source.get<std::string>();
        if (!source.is_array()) return "";
        for (const json& named : source)
            if (named.is_object() && named.value("name", "") == "default") return named.value("template", "");
        return "";
    }

    const Model& model_;
    GgufEntries& entries_;
    fs::path path_;
    json json_;
    std::vector<json> parts_;
};

}  // namespace

void add_vocabulary(const Model& model, GgufEntries& entries) {
    try {
        VocabularyWriter(model, entries).write();
    } catch (const json::exception& error) {
        fail("{}: {}", (model.folder / kTokenizerJson).string(), json_reason(error.what()));
    }
}

}  // namespace ggq
