#include "models/lora_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/utf8.h"
#include "models/text/regex.h"

namespace ggq {

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

// Keys that are read below, or that change nothing in how a trained adapter is applied.
constexpr const char* kKnownKeys[] = {"r",
                                      "lora_alpha",
                                      "lora_dropout",
                                      "use_rslora",
                                      "use_dora",
                                      "exclude_modules",
                                      "modules_to_save",
                                      "ensure_weight_tying",
                                      "target_modules",
                                      "layers_to_transform",
                                      "layers_pattern",
                                      "rank_pattern",
                                      "alpha_pattern",
                                      "base_model_name_or_path",
                                      "peft_type",
                                      "task_type",
                                      "bias",
                                      "init_lora_weights",
                                      "auto_mapping",
                                      "revision",
                                      "peft_version",
                                      "inference_mode",
                                      "megatron_core",
                                      "qalora_group_size",
                                      "eva_config",
                                      "runtime_config"};

// A text that is empty says as little as none.
std::string text_or(const JsonFields& fields, const char* key, const char* fallback) {
    const std::string text = fields.text_or(key, fallback);
    return text.empty() ? fallback : text;
}

// PEFT's features are switched by a key each, and a version newer than this program may have others.
void refuse_unsupported(const JsonFields& fields, const json& content) {
    const std::string type = fields.text_or("peft_type", "");
    require(type == "LORA", "{}: peft_type '{}' is not supported; only LORA is", fields.where(), shown(type));
    const std::string task = text_or(fields, "task_type", "CAUSAL_LM");
    require(task == "CAUSAL_LM", "{}: task_type '{}' is not supported; only CAUSAL_LM is", fields.where(), shown(task));
    const std::string bias = text_or(fields, "bias", "none");
    require(bias == "none", "{}: bias '{}' is not supported; only 'none' is", fields.where(), shown(bias));
    for (const auto& [key, value] : content.items()) {
        const bool known = std::find(std::begin(kKnownKeys), std::end(kKnownKeys), key) != std::end(kKnownKeys);
        require(known || says_nothing(value), "{}: {} = {} is not supported", fields.where(), shown(key),
                shown_json(value));
    }
}

// Some ways to start an adapter also change the base it belongs to.
void check_initial_weights(const JsonFields& fields) {
    const json* init = fields.find("init_lora_weights");
    const bool keeps_base =
        !init || init->is_boolean() || *init == "gaussian" || *init == "orthogonal" || *init == "eva";
    require(keeps_base,
            "{}: init_lora_weights = {} is not supported, since it changes the base model; convert the "
            "adapter with PEFT (path_initial_model_for_weight_conversion)",
            fields.where(), init ? shown_json(*init) : "");
}

std::vector<std::string> read_texts(const JsonFields& fields, const char* key, const json& value) {
    std::vector<std::string> texts;
    for (const json& text : value.is_array() ? value : json::array({value})) {
        if (!text.is_string()) fields.refuse(key, "a text or a list of texts");
        texts.push_back(text.get<std::string>());
    }
    return texts;
}

void read_exceptions(const JsonFields& fields, LoraConfig& config) {
    if (const json* excluded = fields.find("exclude_modules"); excluded && !says_nothing(*excluded)) {
        if (excluded->is_string()) config.exclude_pattern = excluded->get<std::string>();
        else config.exclude_modules = read_texts(fields, "exclude_modules", *excluded);
    }
    if (const json* saved = fields.find("modules_to_save"); saved && !says_nothing(*saved))
        config.modules_to_save = read_texts(fields, "modules_to_save", *saved);
}

void read_targets(const JsonFields& fields, LoraConfig& config) {
    const json* targets = fields.find("target_modules");
    if (!targets) fields.refuse("target_modules", "a list of module names, a regular expression or \"all-linear\"");
    if (targets->is_string()) config.target_pattern = targets->get<std::string>();
    else config.target_modules = read_texts(fields, "target_modules", *targets);
    if (const json* pattern = fields.find("layers_pattern"); pattern && !says_nothing(*pattern))
        config.layers_pattern = read_texts(fields, "layers_pattern", *pattern);
    for (int32_t layer : fields.numbers_or_none("layers_to_transform", "a layer number or a list of them"))
        config.layers_to_transform.push_back(layer);
}

// `in_order` is the same object, which nlohmann::json would sort by key. `read` takes the fields and a key.
template <typename Value>
ByPattern<Value> read_pattern(const JsonFields& fields, const ordered_json& in_order, const char* key,
                              Value (JsonFields::*read)(const char* key) const) {
    const json* object = fields.find(key);
    if (!object || says_nothing(*object)) return {};
    const JsonFields values(*object, fields.where() + ", " + key);
    ByPattern<Value> patterns;
    for (const auto& [pattern, value] : in_order.at(key).items())
        patterns.emplace_back(pattern, (values.*read)(pattern.c_str()));
    return patterns;
}

void check_pattern(const std::string& pattern, const char* key, const std::string& where) {
    try {
        const Regex compiled(pattern);
    } catch (const Error& error) {
        fail("{}: {}: {}", where, key, error.what());
    }
}

bool full_match(const std::string& pattern, const std::string& text) {
    return !Regex("\\A(?:" + pattern + ")\\z").find_all(text).empty();
}

bool is_name_or_end(std::string_view end, std::string_view module) {
    return module.ends_with(end) && (module.size() == end.size() || module[module.size() - end.size() - 1] == '.');
}

bool is_any_of(const std::vector<std::string>& ends, const std::string& module) {
    return std::ranges::any_of(ends, [&](const std::string& end) { return is_name_or_end(end, module); });
}

bool is_excluded(const std::string& module, const LoraConfig& config) {
    return is_any_of(config.exclude_modules, module) ||
           (!config.exclude_pattern.empty() && full_match(config.exclude_pattern, module));
}

// The number after "layers" in "model.layers.7.mlp.up_proj": the last part that is a number, if its list is asked for.
std::optional<int64_t> layer_of(std::string_view module, const std::vector<std::string>& layers_pattern) {
    std::optional<int64_t> layer;
    std::string_view before;
    for (size_t begin = 0; begin < module.size();) {
        const size_t dot = module.find('.', begin);
        if (dot == std::string_view::npos) break;
        const std::string_view part = module.substr(begin, dot - begin);
        const bool number =
            !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
        const bool asked = layers_pattern.empty() ||
                           std::find(layers_pattern.begin(), layers_pattern.end(), before) != layers_pattern.end();
        if (number && part.size() < 10 && asked) layer = std::stoll(std::string(part));
        before = part;
        begin = dot + 1;
    }
    return layer;
}

template <typename Value>
Value by_pattern(const ByPattern<Value>& patterns, const std::string& module, Value otherwise) {
    for (const auto& [pattern, value] : patterns)
        if (full_match("(?:.*\\.)?(?:" + pattern + ")", module)) return value;
    return otherwise;
}

double module_alpha(const std::string& module, const LoraConfig& config) {
    return by_pattern(config.alpha_pattern, module, config.alpha);
}

// Python writes 16, not 16.0, where a user gave a whole alpha.
ordered_json number(double value) {
    const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
    return whole ? ordered_json(static_cast<int64_t>(value)) : ordered_json(value);
}

ordered_json number(int64_t value) { return value; }

template <typename Value>
ordered_json pattern_json(const ByPattern<Value>& patterns) {
    ordered_json object = ordered_json::object();
    for (const auto& [pattern, value] : patterns) object[pattern] = number(value);
    return object;
}

ordered_json targets_json(const LoraConfig& config, const std::vector<std::string>& modules) {
    if (!config.target_modules.empty()) return config.target_modules;
    if (config.target_pattern != kAllLinear || modules.empty()) return config.target_pattern;
    std::vector<std::string> ends;
    for (const std::string& module : modules) {
        const std::string end = module.substr(module.rfind('.') + 1);
        if (std::find(ends.begin(), ends.end(), end) == ends.end()) ends.push_back(end);
    }
    return ends;
}

// The keys that the oldest PEFT in use knows too: it refuses those it does not know. Sorted, as PEFT writes
// them; lora_config_text() sets those that depend on the configuration.
ordered_json new_config_json() {
    return {{"alpha_pattern", nullptr},
            {"auto_mapping", nullptr},
            {"base_model_name_or_path", nullptr},
            {"bias", "none"},
            {"fan_in_fan_out", false},
            {"inference_mode", true},
            {"init_lora_weights", true},
            {"layer_replication", nullptr},
            {"layers_pattern", nullptr},
            {"layers_to_transform", nullptr},
            {"loftq_config", ordered_json::object()},
            {"lora_alpha", nullptr},
            {"lora_dropout", nullptr},
            {"megatron_config", nullptr},
            {"megatron_core", "megatron.core"},
            {"modules_to_save", nullptr},
            {"peft_type", "LORA"},
            {"r", nullptr},
            {"rank_pattern", nullptr},
            {"revision", nullptr},
            {"target_modules", nullptr},
            {"task_type", "CAUSAL_LM"},
            {"use_dora", false},
            {"use_rslora", nullptr}};
}

}  // namespace

LoraConfig parse_lora_config(std::string_view json_text, const std::string& where) {
    const json content = parse_json(json_text, where);
    const JsonFields fields(content, where);
    refuse_unsupported(fields, content);
    check_initial_weights(fields);
    LoraConfig config;
    config.r = fields.count_or("r", config.r);
    config.alpha = fields.positive_or("lora_alpha", config.alpha);
    if (const json* dropout = fields.find("lora_dropout")) {
        if (!dropout->is_number()) fields.refuse("lora_dropout", "a number");
        config.dropout = dropout->get<double>();
    }
    config.use_rslora = fields.flag_or("use_rslora", false);
    config.use_dora = fields.flag_or("use_dora", false);
    config.ensure_weight_tying = fields.flag_or("ensure_weight_tying", false);
    config.base_model = fields.text_or("base_model_name_or_path", "");
    read_targets(fields, config);
    read_exceptions(fields, config);
    const ordered_json in_order = parse_ordered_json(json_text, where);
    config.rank_pattern = read_pattern<int64_t>(fields, in_order, "rank_pattern", &JsonFields::count);
    config.alpha_pattern = read_pattern<double>(fields, in_order, "alpha_pattern", &JsonFields::positive);
    config.source = json_text;
    check_lora_config(config, where);
    return config;
}

void check_lora_config(const LoraConfig& config, const std::string& where) {
    require(config.r >= 1, "{}: the LoRA rank r must be 1 or more, got {}", where, config.r);
    require(std::isfinite(config.alpha) && config.alpha > 0, "{}: lora_alpha must be above zero, got {}", where,
            config.alpha);
    require(config.dropout >= 0 && config.dropout < 1, "{}: lora_dropout must be at least 0 and below 1, got {}", where,
            config.dropout);
    require(!config.target_modules.empty() || !config.target_pattern.empty(), "{}: target_modules is empty", where);
    const bool by_regex = config.target_modules.empty() && config.target_pattern != kAllLinear;
    if (by_regex) check_pattern(config.target_pattern, "target_modules", where);
    if (!config.exclude_pattern.empty()) check_pattern(config.exclude_pattern, "exclude_modules", where);
    require(!by_regex || config.layers_to_transform.empty(),
            "{}: layers_to_transform cannot go with target_modules as a regular expression; put the layers into the "
            "expression",
            where);
}

std::string lora_config_text(const LoraConfig& config, const std::vector<std::string>& modules) {
    const bool fresh = config.source.empty();
    ordered_json text = fresh ? new_config_json() : parse_ordered_json(config.source, "adapter_config.json");
    const LoraConfig before = fresh ? LoraConfig{} : parse_lora_config(config.source, "adapter_config.json");
    const auto set = [&](const char* key, const auto& old_value, const auto& value, const ordered_json& written) {
        if (fresh || old_value != value) text[key] = written;
    };
    const auto or_null = [](const auto& list) { return list.empty() ? ordered_json() : ordered_json(list); };
    set("r", before.r, config.r, config.r);
    set("lora_alpha", before.alpha, config.alpha, number(config.alpha));
    set("lora_dropout", before.dropout, config.dropout, config.dropout);
    set("use_rslora", before.use_rslora, config.use_rslora, config.use_rslora);
    set("use_dora", before.use_dora, config.use_dora, config.use_dora);
    set("modules_to_save", before.modules_to_save, config.modules_to_save, or_null(config.modules_to_save));
    set("layers_to_transform", before.layers_to_transform, config.layers_to_transform,
        or_null(config.layers_to_transform));
    set("layers_pattern", before.layers_pattern, config.layers_pattern, or_null(config.layers_pattern));
    set("rank_pattern", before.rank_pattern, config.rank_pattern, pattern_json(config.rank_pattern));
    set("alpha_pattern", before.alpha_pattern, config.alpha_pattern, pattern_json(config.alpha_pattern));
    set("base_model_name_or_path", before.base_model, config.base_model, or_null(config.base_model));
    const ordered_json targets = targets_json(config, modules);
    set("target_modules", targets_json(before, {}), targets, targets);
    return text.dump(2, ' ', true, json::error_handler_t::replace);
}

bool module_matches(const std::string& module, const LoraConfig& config) {
    const auto is_target = [&] {
        if (!config.target_modules.empty()) return is_any_of(config.target_modules, module);
        if (config.target_pattern == kAllLinear) return !is_name_or_end("lm_head", module);
        return full_match(config.target_pattern, module);
    };
    if (!is_target() || is_excluded(module, config)) return false;
    if (config.layers_to_transform.empty()) return true;
    const std::optional<int64_t> layer = layer_of(module, config.layers_pattern);
    return layer && std::find(config.layers_to_transform.begin(), config.layers_to_transform.end(), *layer) !=
                        config.layers_to_transform.end();
}

bool is_saved_module(const std::string& module, const LoraConfig& config) {
    return is_any_of(config.modules_to_save, module);
}

int64_t lora_rank(const std::string& module, const LoraConfig& config) {
    return by_pattern(config.rank_pattern, module, config.r);
}

double lora_scale(const std::string& module, const LoraConfig& config) {
    const auto r = static_cast<double>(lora_rank(module, config));
    return module_alpha(module, config) / (config.use_rslora ? std::sqrt(r) : r);
}

}  // namespace ggq
