#include "models/text/special_tokens.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "ggq/error.h"
#include "ggq/io/gguf.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"
#include "models/text/gguf_tokenizer.h"
#include "models/text/tokenizer_json.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// An empty object where there is no such file.
json read_object(const fs::path& file) {
    if (!is_there(file)) return json::object();
    json content = parse_json(read_side_file(file), file.string());
    require(content.is_object(), "{}: expected an object", file.string());
    return content;
}

// A token in a configuration is a string or an object with its content and flags.
AddedToken named_token(const json& value, const std::string& key) {
    require(value.is_string() || (value.is_object() && value.contains("content")),
            "{}: expected a text or an object with content, got {}", key, shown_json(value));
    AddedToken token = added_token_from_json(value.is_string() ? json{{"content", value}} : value);
    token.special = true;
    token.normalized = value.is_object() && JsonFields(value, key).flag_or("normalized", false);
    return token;
}

bool is_list_key(const std::string& key) { return key == "additional_special_tokens" || key == "extra_special_tokens"; }

// All values that name a token, in the order in which transformers gives ids to new ones: those that every tokenizer
// has, others such as "image_token", and those of lists.
std::vector<AddedToken> named_tokens(const json& names) {
    static const std::vector<std::string> kUsual = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                    "pad_token", "cls_token", "mask_token"};
    std::vector<AddedToken> tokens;
    for (const std::string& key : kUsual)
        if (names.contains(key) && !names[key].is_null()) tokens.push_back(named_token(names[key], key));
    for (const auto& [key, value] : names.items())
        if (key.ends_with("_token") && value.is_string() && std::ranges::find(kUsual, key) == kUsual.end())
            tokens.push_back(named_token(value, key));
    for (const bool objects : {true, false})
        for (const auto& [key, value] : names.items())
            if (is_list_key(key) && (objects ? value.is_object() : value.is_array()))
                for (const json& item : value) tokens.push_back(named_token(item, key));
    return tokens;
}

// special_tokens_map.json has the word on names, but not on a list that tokenizer_config.json has.
void overrule(json& names, const json& map) {
    const bool has_list = std::ranges::any_of(names.items(), [](const auto& item) {
        return is_list_key(item.key()) && item.value().is_structured() && !item.value().empty();
    });
    for (const auto& [key, value] : map.items())
        if (!has_list || !is_list_key(key)) names[key] = value;
}

int32_t id_of_key(const std::string& text) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    require(error == std::errc() && end == text.data() + text.size() && id >= 0,
            "added_tokens_decoder: expected a token id, got '{}'", shown(text));
    return id;
}

std::vector<AddedToken> sorted_by_id(std::vector<AddedToken> tokens) {
    std::ranges::stable_sort(tokens, {}, &AddedToken::id);
    return tokens;
}

std::vector<AddedToken> decoder_tokens(const json& list) {
    std::vector<AddedToken> tokens;
    for (const auto& [id, item] : list.items()) {
        tokens.push_back(added_token_from_json(item));
        tokens.back().id = id_of_key(id);
    }
    return sorted_by_id(std::move(tokens));
}

// added_tokens.json: {content: id}
std::vector<AddedToken> legacy_tokens(const json& list, const std::vector<AddedToken>& named) {
    std::set<std::string> special;
    for (const AddedToken& token : named) special.insert(token.content);
    std::vector<AddedToken> tokens;
    for (const auto& [content, id] : list.items()) {
        const bool is_special = special.contains(content);
        tokens.push_back({.id = token_id(id, "token '" + content + "'"),
                          .content = content,
                          .special = is_special,
                          .normalized = !is_special});
    }
    return sorted_by_id(std::move(tokens));
}

std::optional<bool> flag(const json& config, const char* key) {
    const auto found = config.find(key);
    return found == config.end() || !found->is_boolean() ? std::nullopt : std::optional(found->get<bool>());
}

// Names the file in whatever is wrong with it.
template <typename Read>
void reading(const fs::path& file, const Read& read) {
    try {
        read(file);
    } catch (const json::exception& error) {
        fail("{}: {}", file.string(), json_reason(error.what()));
    } catch (const Error& error) {
        const std::string text = error.what();
        fail("{}{}", text.starts_with(file.string()) ? "" : file.string() + ": ", text);
    }
}

}  // namespace

SpecialTokens read_special_tokens(const fs::path& folder) {
    if (is_gguf(folder)) return special_tokens_of(GgufFile(folder).content());
    SpecialTokens result;
    json names;
    bool has_list = false;
    reading(folder / kTokenizerConfig, [&](const fs::path& file) {
        names = read_object(file);
        has_list = names.contains("added_tokens_decoder");
        if (has_list) result.added = decoder_tokens(names["added_tokens_decoder"]);
        result.add_bos = flag(names, "add_bos_token");
        result.add_eos = flag(names, "add_eos_token");
        result.add_prefix_space = flag(names, "add_prefix_space");
        result.legacy = flag(names, "legacy").value_or(false);
        const json type = names.value("tokenizer_class", json());
        result.llama_class = type.is_string() && type.get<std::string>().starts_with("LlamaTokenizer");
        result.chat_template = names.contains("chat_template") && !names["chat_template"].is_null();
        named_tokens(names);  // for its errors
    });
    for (const char* name : kChatTemplates) result.chat_template |= is_there(folder / name);
    result.chat_template |= is_there(folder / "additional_chat_templates");
    if (!has_list) {
        reading(folder / kSpecialTokensMap, [&](const fs::path& file) {
            overrule(names, read_object(file));
            named_tokens(names);
        });
    }
    result.named = named_tokens(names);
    if (!has_list) {
        reading(folder / kAddedTokens,
                [&](const fs::path& file) { result.added = legacy_tokens(read_object(file), result.named); });
        result.added_overrule = false;
    }
    const auto content = [&](const char* key) {
        return names.contains(key) && !names[key].is_null() ? named_token(names[key], key).content : std::string();
    };
    for (const auto& [key, value] : names.items())
        if (key.ends_with("_token") && !value.is_null() && (value.is_string() || value.is_object()))
            result.texts.emplace_back(key, named_token(value, key).content);
    result.bos = content("bos_token");
    result.eos = content("eos_token");
    return result;
}

}  // namespace ggq
