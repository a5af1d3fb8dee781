#include "models/family_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

using nlohmann::json;

// The names in a column of the table of families: "'llama', 'mistral'".
std::string family_names(const char* FamilyRow::*column) {
    std::string names;
    for (const FamilyRow& row : family_rows()) names += (names.empty() ? "'" : ", '") + std::string(row.*column) + "'";
    return names;
}

const FamilyRow* find_family(const char* FamilyRow::*column, std::string_view name) {
    for (const FamilyRow& row : family_rows())
        if (name == row.*column) return &row;
    return nullptr;
}

const FamilyRow* family_of_architectures(const json& architectures) {
    for (const json& name : architectures)
        if (name.is_string())
            if (const FamilyRow* row = find_family(&FamilyRow::architecture, name.get_ref<const std::string&>()))
                return row;
    return nullptr;
}

// Whether each layer slides: by the list layer_types, else by the family's rule.
std::vector<bool> read_window_layers(const JsonFields& fields, const FamilyRow& row, int64_t n_layers) {
    std::vector<bool> slides(static_cast<size_t>(n_layers), row.window == WindowRule::all_layers);
    if (row.window != WindowRule::from_max_window_layers) return slides;
    const json* types = fields.find("layer_types");
    const bool listed = types && types->is_array() && types->size() == slides.size();
    if (types && !listed) fields.refuse("layer_types", "a list with an entry for each layer");
    const auto stated = fields.numbers_or_none("max_window_layers", "a whole number from 0 to 2147483647");
    const int64_t first = stated.empty() ? 28 : stated.front();
    for (size_t i = 0; i < slides.size(); ++i) {
        if (types && (*types)[i] != "sliding_attention" && (*types)[i] != "full_attention")
            fields.refuse("layer_types", "a list of full_attention and sliding_attention");
        slides[i] = types ? (*types)[i] == "sliding_attention" : static_cast<int64_t>(i) >= first;
    }
    return slides;
}

// A window that is null is none; one that is not there is the default.
void read_window(const JsonFields& fields, const json& content, const FamilyRow& row, LlamaConfig& config) {
    const bool wanted = row.window == WindowRule::all_layers || (row.window == WindowRule::from_max_window_layers &&
                                                                 fields.flag_or("use_sliding_window", false));
    const bool is_null = content.contains("sliding_window") && !fields.find("sliding_window");
    if (!wanted || is_null) return;
    config.sliding_window = fields.count_or("sliding_window", row.default_window);
    config.window_layers = read_window_layers(fields, row, config.num_hidden_layers);
}

}  // namespace

const FamilyRow& read_family(const JsonFields& fields) {
    const json* architectures = fields.find("architectures");
    const bool named = architectures && architectures->is_array() && !architectures->empty();
    const FamilyRow* by_name = named ? family_of_architectures(*architectures) : nullptr;
    require(!named || by_name, "{}: the architecture {} is not known; known are {}", fields.where(),
            architectures ? shown_json(*architectures) : "", family_names(&FamilyRow::architecture));
    const std::string type = fields.text_or("model_type", by_name ? by_name->model_type : "");
    const FamilyRow* by_type = find_family(&FamilyRow::model_type, type);
    require(by_type != nullptr, "{}: the model_type '{}' is not known; known are {}", fields.where(), shown(type),
            family_names(&FamilyRow::model_type));
    require(!by_name || by_name == by_type, "{}: the architecture {} and the model_type '{}' do not go together",
            fields.where(), architectures ? shown_json(*architectures) : "", shown(type));
    return *by_type;
}

void read_family_parts(const JsonFields& fields, const json& content, const FamilyRow& row, LlamaConfig& config) {
    const bool bias = row.reads_attention_bias && fields.flag_or("attention_bias", false);
    config.family = row.family;
    config.qkv_bias = row.qkv_bias || bias;
    config.o_bias = bias;
    config.qk_norm = row.qk_norm;
    read_window(fields, content, row, config);
}

json window_json(const LlamaConfig& config) {
    const WindowRule rule = row_of(config.family).window;
    json text = json::object();
    if (rule == WindowRule::none) return text;
    text["sliding_window"] = config.sliding_window > 0 ? json(config.sliding_window) : json(nullptr);
    text["use_sliding_window"] = config.sliding_window > 0;
    if (rule == WindowRule::all_layers || config.sliding_window == 0) return text;
    for (const bool slides : config.window_layers)
        text["layer_types"].push_back(slides ? "sliding_attention" : "full_attention");
    return text;
}

std::string family_text(const LlamaConfig& c) {
    std::string text;
    if (c.qkv_bias || c.o_bias) text += fmt::format(" bias {} {}", c.qkv_bias, c.o_bias);
    if (c.qk_norm) text += " qk_norm";
    if (c.sliding_window > 0) text += fmt::format(" window {}:", c.sliding_window);
    for (const bool slides : c.window_layers) text += slides ? '1' : '0';
    if (c.rope.kind == RopeKind::yarn)
        text += fmt::format(" yarn {} {} {} {}", c.rope.beta_fast, c.rope.beta_slow, c.rope.attention_factor,
                            c.rope.truncate);
    return text;
}

}  // namespace ggq
