// Tokenizer::load: tokenizer.json, then special_tokens_map.json, tokenizer_config.json and config.json if they lie
// beside it; a later file overrules an earlier one, but config.json only fills in ids that no other file names.
#include <charconv>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/json_file.h"
#include "models/text/tokenizer.h"
#include "models/text/tokenizer_json.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;

constexpr const char* kModelConfig = "config.json";

fs::path tokenizer_file(const fs::path& path) {
    if (!is_folder(path)) return path;
    fs::path file = path / "tokenizer.json";
    if (is_there(file)) return file;
    require(!is_there(path / "tokenizer.model"),
            "{}: has tokenizer.model but no tokenizer.json; convert it with: python3 -c \"from transformers import "
            "AutoTokenizer; AutoTokenizer.from_pretrained('{}').save_pretrained('{}')\"",
            path.string(), path.string(), path.string());
    fail("{}: no such file; a model folder needs its tokenizer", file.string());
}

// A token in a configuration is a string or an object with its content.
std::string token_content(const nlohmann::json& config, const std::string& key) {
    const auto found = config.find(key);
    if (found == config.end()) return {};
    if (found->is_string()) return *found;
    return found->is_object() ? found->value("content", "") : std::string();
}

bool flag(const nlohmann::json& config, const std::string& key, bool otherwise) {
    const auto found = config.find(key);
    return found == config.end() || !found->is_boolean() ? otherwise : found->get<bool>();
}

int32_t number_of(const std::string& text, const std::string& file) {
    int32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    require(error == std::errc() && end == text.data() + text.size(), "{}: expected a token id, got '{}'", file, text);
    return number;
}

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
        for (const auto& id : json.at("special_tokens").at(name).at("ids")) ids.push_back(id);
    }
    require(after, "post_processor TemplateProcessing: expected a Sequence in single, got none");
    return result;
}

}  // namespace

Tokenizer Tokenizer::load(const fs::path& path) {
    const fs::path file = tokenizer_file(path);
    const nlohmann::json json = parse_json(read_side_file(file), file.string());
    Tokenizer tokenizer;
    try {
        require(json.is_object() && json.contains("model"), "expected an object with a model");
        tokenizer.normalizer_ = Normalizer(json.value("normalizer", nlohmann::json()));
        tokenizer.pre_tokenizer_ = PreTokenizer(json.value("pre_tokenizer", nlohmann::json()));
        tokenizer.decoder_ = Decoder(json.value("decoder", nlohmann::json()));
        tokenizer.load_model(json["model"]);
        tokenizer.load_added_tokens(json.value("added_tokens", nlohmann::json::array()));
        tokenizer.load_post_processor(json.value("post_processor", nlohmann::json()));
    } catch (const Error& error) {
        fail("{}: {}", file.string(), error.what());
    } catch (const nlohmann::json::exception& error) {
        fail("{}: not the form of a tokenizer.json: {}", file.string(), error.what());
    }
    tokenizer.load_config(file.parent_path());
    return tokenizer;
}

void Tokenizer::load_model(const nlohmann::json& model) {
    const std::string type = model.value("type", "BPE");
    if (type != "BPE") refuse_type("model", type, "BPE");
    for (const auto& [token, id] : model.at("vocab").items()) add_entry(token, id);
    bpe_ = Bpe(model, ids_, pre_tokenizer_.byte_level());
}

void Tokenizer::load_added_tokens(const nlohmann::json& json) {
    for (const auto& item : json) add_token(added_token_from_json(item));
}

void Tokenizer::load_post_processor(const nlohmann::json& json) {
    for (const auto& part : component_parts(json, "post_processor", "processors")) {
        const std::string type = component_type(part, "post_processor");
        if (type == "TemplateProcessing") {
            Template found = read_template(part);
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

void Tokenizer::load_config(const fs::path& folder) {
    for (const std::string name : {"special_tokens_map.json", "tokenizer_config.json", kModelConfig}) {
        const fs::path file = folder / name;
        if (!is_there(file)) continue;
        const nlohmann::json config = parse_json(read_side_file(file), file.string());
        require(config.is_object(), "{}: expected an object", file.string());
        try {
            name == kModelConfig ? apply_model_config(config) : apply_config(config, file.string());
        } catch (const nlohmann::json::exception& error) {
            fail("{}: {}", file.string(), error.what());
        }
    }
}

// eos_token_id may be a number, a list of which the first ends a text, or null.
void Tokenizer::apply_model_config(const nlohmann::json& config) {
    const auto fill = [&](std::optional<int32_t>& id, const char* key) {
        auto value = config.value(key, nlohmann::json());
        if (value.is_array() && !value.empty()) value = nlohmann::json(value[0]);
        if (!id && value.is_number_integer() && value >= 0 && value < vocab_size()) id = value.get<int32_t>();
    };
    fill(bos_, "bos_token_id");
    fill(eos_, "eos_token_id");
}

void Tokenizer::apply_config(const nlohmann::json& config, const std::string& name) {
    const auto more_tokens = config.value("added_tokens_decoder", nlohmann::json::object());
    for (const auto& [id, item] : more_tokens.items()) {
        AddedToken token = added_token_from_json(item);
        if (id_of(token.content)) continue;
        token.id = number_of(id, name);
        add_token(std::move(token));
    }
    const auto named = [&](const std::string& key, bool needed) -> std::optional<int32_t> {
        const std::string content = token_content(config, key);
        const auto id = id_of(content);
        require(id.has_value() || content.empty() || !needed, "{}: {} '{}' is not in tokenizer.json", name, key,
                content);
        if (id && !is_special(*id)) add_token({.id = *id, .content = content, .special = true});
        return id;
    };
    if (const auto id = named("bos_token", true)) bos_ = id;
    if (const auto id = named("eos_token", true)) eos_ = id;
    named("pad_token", false);  // of no use here, but special: decoding leaves it out
    add_ends(config);
}

// add_bos_token and add_eos_token overrule the template; a LlamaTokenizer adds BOS where the file does not say.
void Tokenizer::add_ends(const nlohmann::json& config) {
    const bool llama = config.value("tokenizer_class", "").starts_with("LlamaTokenizer");
    const bool has_bos = bos_ && !prefix_.empty() && prefix_.front() == *bos_;
    const bool has_eos = eos_ && !suffix_.empty() && suffix_.back() == *eos_;
    const bool wants_bos = flag(config, "add_bos_token", llama || has_bos);
    const bool wants_eos = flag(config, "add_eos_token", !llama && has_eos);
    if (bos_ && wants_bos && !has_bos) prefix_.insert(prefix_.begin(), *bos_);
    if (!wants_bos && has_bos) prefix_.erase(prefix_.begin());
    if (eos_ && wants_eos && !has_eos) suffix_.push_back(*eos_);
    if (!wants_eos && has_eos) suffix_.pop_back();
}

void Tokenizer::add_token(AddedToken token) {
    add_entry(token.content, token.id);
    Entry& entry = tokens_[static_cast<size_t>(token.id)];
    if (token.special) entry.special = true;
    if (token.normalized) {
        token.content = normalizer_.apply(AlignedText(token.content, {0, token.content.size()})).text();
        entry.bytes = decoder_.bytes_of(token.content);  // it stands for what was found, the normalized text
    }
    (token.normalized ? added_normalized_ : added_raw_).add(std::move(token));
}

void Tokenizer::add_entry(const std::string& token, int32_t id) {
    constexpr int32_t kMostTokens = 1 << 24;
    require(id >= 0 && id < kMostTokens, "token '{}' has id {}, expected 0 to {}", token, id, kMostTokens - 1);
    const auto [known, is_new] = ids_.emplace(token, id);
    require(known->second == id, "token '{}' has two ids, {} and {}", token, known->second, id);
    if (!is_new) return;
    if (id >= vocab_size()) tokens_.resize(static_cast<size_t>(id) + 1);
    Entry& entry = tokens_[static_cast<size_t>(id)];
    require(entry.token.empty(), "id {} has two tokens, '{}' and '{}'", id, entry.token, token);
    entry = {token, decoder_.bytes_of(token), false};
}

}  // namespace ggq
