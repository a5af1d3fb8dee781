// Tokenizer::load: the vocabulary (tokenizer_files.h), then what the files beside it add (special_tokens.h);
// config.json only fills in ids that no other file names.
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"
#include "models/text/special_tokens.h"
#include "models/text/tokenizer.h"
#include "models/text/tokenizer_files.h"
#include "models/text/tokenizer_json.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;

struct Template {
    std::vector<int32_t> prefix, suffix;
};

Template read_template(const nlohmann::json& json) {
    Template result;
    bool after = false;
    for (const auto& item : json.at("single")) {
        if (item.contains("Sequence")) {
            require(!after, "post_processor TemplateProcessing: expected one Sequence in single, got more");
            after = true;
            continue;
        }
        const std::string name = item.at("SpecialToken").at("id");
        auto& ids = after ? result.suffix : result.prefix;
        for (const auto& id : json.at("special_tokens").at(name).at("ids"))
            ids.push_back(token_id(id, "'" + name + "' in the post_processor"));
    }
    require(after, "post_processor TemplateProcessing: expected a Sequence in single, got none");
    return result;
}

}  // namespace

// Added tokens in the order in which they came; a later one of the same content has the last word on the flags.
class Tokenizer::AddedList {
public:
    AddedToken* find(const std::string& content) {
        const auto found = index_.find(content);
        return found == index_.end() ? nullptr : &tokens_[found->second];
    }
    AddedToken& put(AddedToken token) {
        const auto [at, is_new] = index_.emplace(token.content, tokens_.size());
        if (is_new) tokens_.emplace_back();
        AddedToken& known = tokens_[at->second];
        token.special = token.special || known.special;
        return known = std::move(token);
    }
    std::vector<AddedToken> take() { return std::move(tokens_); }

private:
    std::vector<AddedToken> tokens_;
    std::unordered_map<std::string, size_t> index_;
};

void Tokenizer::load_parts(const nlohmann::json& json, AddedList& added) {
    require(json.is_object() && json.contains("model"), "expected an object with a model");
    normalizer_ = Normalizer(json.value("normalizer", nlohmann::json()));
    pre_tokenizer_ = PreTokenizer(json.value("pre_tokenizer", nlohmann::json()));
    decoder_ = Decoder(json.value("decoder", nlohmann::json()));
    load_model(json["model"]);
    for (const auto& item : json.value("added_tokens", nlohmann::json::array()))
        add_token(added_token_from_json(item), added);
    load_post_processor(json.value("post_processor", nlohmann::json()));
}

Tokenizer Tokenizer::make(const nlohmann::json& json, const SpecialTokens& special, const std::string& where) {
    Tokenizer tokenizer;
    tokenizer.file_ = where;
    AddedList added;
    try {
        tokenizer.load_parts(json, added);
        tokenizer.apply_special_tokens(special, added);
        tokenizer.settle_added_tokens(std::move(added));
    } catch (const Error& error) {
        fail("{}: {}", where, error.what());
    } catch (const nlohmann::json::exception& error) {
        fail("{}: not the form of a tokenizer.json: {}", where, json_reason(error.what()));
    }
    return tokenizer;
}

Tokenizer Tokenizer::load(const fs::path& path) {
    const fs::path file = tokenizer_file(path);
    SpecialTokens special = read_special_tokens(file.parent_path());
    const nlohmann::json json = read_tokenizer_file(file, special);
    Tokenizer tokenizer = make(json, special, file.string());
    const fs::path config = file.parent_path() / "config.json";
    if (is_there(config)) tokenizer.apply_model_config(parse_json(read_side_file(config), config.string()));
    return tokenizer;
}

void Tokenizer::load_model(const nlohmann::json& model) {
    const JsonFields fields(model, "model");
    const std::string type = fields.text_or("type", "BPE");
    if (type == "Unigram") return load_unigram(model);
    if (type != "BPE") refuse_type("model", type, "BPE and Unigram");
    const nlohmann::json* vocab = fields.find("vocab");
    if (!vocab || !vocab->is_object()) fields.refuse("vocab", "an object of tokens and ids");
    for (const auto& [token, id] : vocab->items()) add_entry(token, token_id(id, "token '" + token + "'"));
    model_ = Bpe(model, ids_, pre_tokenizer_.byte_level());
}

// {"vocab": [["token", score]...], "unk_id"}, or as a BPE model with scores.
void Tokenizer::load_unigram(const nlohmann::json& model) {
    nlohmann::json parts = {{"unk_token", model.value("unk_token", nlohmann::json())},
                            {"byte_fallback", model.value("byte_fallback", false)},
                            {"scores", model.value("scores", nlohmann::json::array())}};
    for (const auto& [key, item] : model.at("vocab").items()) {
        const bool listed = model["vocab"].is_array();
        if (listed) parts["scores"].push_back(item.at(1));
        const std::string token = listed ? item.at(0).get<std::string>() : key;
        const int64_t id = listed ? std::ssize(parts["scores"]) - 1 : token_id(item, "token '" + key + "'");
        add_entry(token, static_cast<int32_t>(id));
    }
    if (const auto unknown = model.value("unk_id", nlohmann::json()); !unknown.is_null())
        parts["unk_token"] = token_of(token_id(unknown, "unk_id"));
    model_ = Unigram(parts, ids_);
}

void Tokenizer::load_post_processor(const nlohmann::json& json) {
    for (const nlohmann::json* part : component_parts(json, "post_processor", "processors")) {
        const std::string type = component_type(*part, "post_processor");
        if (type == "TemplateProcessing") {
            Template found = read_template(*part);
            prefix_.insert(prefix_.begin(), found.prefix.begin(), found.prefix.end());
            suffix_.insert(suffix_.end(), found.suffix.begin(), found.suffix.end());
        } else if (type != "ByteLevel") {  // ByteLevel trims offsets only
            refuse_type("post_processor", type, "TemplateProcessing, ByteLevel and Sequence");
        }
    }
    for (const auto* ids : {&prefix_, &suffix_}) {
        for (const int32_t id : *ids) entry(id);
    }
}

// eos_token_id may be a number, a list of which the first ends a text, or null.
void Tokenizer::apply_model_config(const nlohmann::json& config) {
    const auto fill = [&](std::optional<int32_t>& id, const char* key) {
        auto value = config.value(key, nlohmann::json());
        if (value.is_array() && !value.empty()) value = nlohmann::json(value[0]);
        if (!id && value.is_number_integer() && value >= 0 && value < vocab_size()) id = value.get<int32_t>();
    };
    if (!config.is_object()) return;  // whoever reads the configuration says so
    fill(bos_, "bos_token_id");
    fill(eos_, "eos_token_id");
}

void Tokenizer::apply_special_tokens(const SpecialTokens& tokens, AddedList& list) {
    for (AddedToken token : tokens.added) {
        if (token.content.empty() || (!tokens.added_overrule && list.find(token.content) != nullptr)) continue;
        token.id = -1;  // as transformers: a token that is not known yet gets the next id, whatever the file says
        add_token(std::move(token), list);
    }
    for (const AddedToken& token : tokens.named) {
        if (token.content.empty()) continue;
        AddedToken* known = list.find(token.content);
        (known ? *known : add_token(token, list)).special = true;
    }
    if (!tokens.bos.empty()) bos_ = id_of(tokens.bos);
    if (!tokens.eos.empty()) eos_ = id_of(tokens.eos);
    has_chat_template_ = tokens.chat_template;
    add_ends(tokens);
}

// add_bos_token and add_eos_token overrule the template, and there the token that a file names takes the place of
// another; a LlamaTokenizer adds BOS where the file does not say.
void Tokenizer::add_ends(const SpecialTokens& tokens) {
    const bool has_bos = bos_ && std::ranges::find(prefix_, *bos_) != prefix_.end();
    const bool has_eos = eos_ && std::ranges::find(suffix_, *eos_) != suffix_.end();
    const bool wants_bos = tokens.add_bos.value_or(tokens.llama_class || has_bos);
    const bool wants_eos = tokens.add_eos.value_or(!tokens.llama_class && has_eos);
    if (bos_ && wants_bos && !has_bos) prefix_ = {*bos_};
    if (eos_ && wants_eos && !has_eos) suffix_ = {*eos_};
    if (!wants_bos && has_bos) std::erase(prefix_, *bos_);
    if (!wants_eos && has_eos) std::erase(suffix_, *eos_);
}

// A token of the vocabulary keeps its id, a new one without an id gets the next.
AddedToken& Tokenizer::add_token(AddedToken token, AddedList& list) {
    if (const auto known = id_of(token.content); known && token.id < 0) token.id = *known;
    if (token.id < 0) token.id = vocab_size();
    add_entry(token.content, token.id);
    return list.put(std::move(token));
}

void Tokenizer::settle_added_tokens(AddedList list) {
    std::vector<AddedToken> raw, normalized;
    for (AddedToken& token : list.take()) {
        Entry& entry = tokens_[token.id];
        entry.special = token.special;
        if (token.normalized) {
            const std::string after = " " + token.content;  // it may stand anywhere in a text
            token.content = normalizer_.apply(AlignedText(after, {1, after.size()})).text();
            entry.bytes = decoder_.bytes_of(token.content);  // it stands for what was found, the normalized text
        }
        (token.normalized ? normalized : raw).push_back(std::move(token));
    }
    added_raw_ = AddedTokens(std::move(raw));
    added_normalized_ = AddedTokens(std::move(normalized));
}

void Tokenizer::add_entry(const std::string& token, int32_t id) {
    require(id < std::numeric_limits<int32_t>::max(), "token '{}': no id is left for it", shown(token));
    const auto [known, is_new] = ids_.emplace(token, id);
    require(known->second == id, "token '{}' has two ids, {} and {}", shown(token), known->second, id);
    if (!is_new) return;
    const auto [entry, is_free] = tokens_.try_emplace(id, Entry{token, decoder_.bytes_of(token), false});
    require(is_free, "id {} has two tokens, '{}' and '{}'", id, shown(entry->second.token), shown(token));
    vocab_size_ = std::max(vocab_size_, id + 1);
}

}  // namespace ggq
