#include "models/text/tokenizer_json.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

constexpr size_t kMostParts = 64;
constexpr size_t kMostContent = 256;

void collect_parts(const nlohmann::json& json, const std::string& component, const std::string& members,
                   std::vector<const nlohmann::json*>& parts) {
    if (component_type(json, component) == "Sequence") {
        for (const auto& member : json.at(members)) collect_parts(member, component, members, parts);
        return;
    }
    require(parts.size() < kMostParts, "{}: expected at most {} parts, got more", component, kMostParts);
    parts.push_back(&json);
}

}  // namespace

int32_t token_id(const nlohmann::json& json, std::string_view whose) {
    constexpr uint64_t kMost = std::numeric_limits<int32_t>::max() - 1;
    require(json.is_number_unsigned() && json.get<uint64_t>() <= kMost,
            "id of {}: expected a whole number of 0 to {}, got {}", shown(whose), kMost, shown_json(json));
    return json.get<int32_t>();
}

std::string component_type(const nlohmann::json& json, const std::string& component) {
    require(json.is_object() && json.contains("type") && json["type"].is_string(),
            "{}: expected an object with a type, got {}", component, shown_json(json));
    return json["type"];
}

std::vector<const nlohmann::json*> component_parts(const nlohmann::json& json, const std::string& component,
                                                   const std::string& members) {
    std::vector<const nlohmann::json*> parts;
    if (!json.is_null()) collect_parts(json, component, members, parts);
    return parts;
}

std::string component_content(const nlohmann::json& json, const std::string& component, const std::string& field) {
    const JsonFields fields(json, component);
    if (!fields.find(field.c_str())) fields.refuse(field.c_str(), "a text");
    std::string content = fields.text_or(field.c_str(), "");
    require(content.size() <= kMostContent, "{}: expected {} of at most {} bytes, got {}", component, field,
            kMostContent, content.size());
    return content;
}

void refuse_type(const std::string& component, const std::string& type, std::string_view known) {
    fail("{} of type {} is not supported; supported are {}", component, shown(type), known);
}

std::string metaspace_mark(const nlohmann::json& json, const std::string& component) {
    std::string mark = JsonFields(json, component).text_or("replacement", "▁");
    require(!mark.empty() && static_cast<size_t>(utf8_length(mark[0])) == mark.size(),
            "{}: expected a replacement of one character, got '{}'", component, shown(mark));
    return mark;
}

Regex component_pattern(const nlohmann::json& json, const std::string& component) {
    const auto& pattern = json.at("pattern");
    if (pattern.is_object() && pattern.contains("String"))
        return Regex(Regex::quote(pattern["String"].get<std::string>()));
    if (pattern.is_object() && pattern.contains("Regex")) return Regex(pattern["Regex"].get<std::string>());
    fail("{}: expected a pattern with String or Regex, got {}", component, shown_json(pattern));
}

}  // namespace ggq
