// Which tokens a model folder adds to those of its tokenizer.json, and which of them begin and end a text.
//
// As transformers 5 reads the folder: tokenizer_config.json names the special tokens and, in added_tokens_decoder, all
// added ones with their flags. Only where it has no such list (older folders) special_tokens_map.json overrules the
// names, and added_tokens.json adds tokens. config.json is no part of this: it fills in what no file names.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/text/added_tokens.h"

namespace ggq {

// The files of a folder that say how a text becomes tokens, and conversations texts.
inline constexpr const char* kTokenizerJson = "tokenizer.json";
inline constexpr const char* kTokenizerModel = "tokenizer.model";
inline constexpr const char* kTokenizerConfig = "tokenizer_config.json";
inline constexpr const char* kSpecialTokensMap = "special_tokens_map.json";
inline constexpr const char* kAddedTokens = "added_tokens.json";
inline constexpr std::array kChatTemplates = {"chat_template.jinja", "chat_template.json"};
inline constexpr std::array kTokenizerFiles = {kTokenizerJson, kTokenizerModel,   kTokenizerConfig, kSpecialTokensMap,
                                               kAddedTokens,   kChatTemplates[0], kChatTemplates[1]};

struct SpecialTokens {
    // In the order in which they get ids, if the tokenizer does not know them yet. Those of `named` are special
    // whatever the tokenizer says, and keep the flags that it gives them.
    std::vector<AddedToken> added, named;
    bool added_overrule = true;  // the flags of a token that tokenizer.json has too; added_tokens.json's do not
    std::string bos, eos;        // their contents; empty: no file names one
    // All that are named, by key: {"bos_token", "<s>"}, as chat templates see them.
    std::vector<std::pair<std::string, std::string>> texts;
    std::optional<bool> add_bos, add_eos;
    std::optional<bool> add_prefix_space;  // of a tokenizer.model: else it says so itself
    bool legacy = false;                   // of a tokenizer.model: a space stands behind special tokens too
    bool llama_class = false;              // a LlamaTokenizer, which adds BOS where nothing is said
    bool chat_template = false;            // in tokenizer_config.json or a file of its own
};

// Of a model folder, or of a GGUF file as gguf_tokenizer.h tells.
SpecialTokens read_special_tokens(const std::filesystem::path& folder);

}  // namespace ggq
