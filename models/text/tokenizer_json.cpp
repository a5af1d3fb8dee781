#include "models/text/tokenizer_json.h"

#include <nlohmann/json.hpp>

#include "ggq/error.h"

namespace ggq {

std::string component_type(const nlohmann::json& json, const std::string& component) {
    require(json.is_object() && json.contains("type") && json["type"].is_string(),
            "{}: expected an object with a type, got {}", component, json.dump());
    return json["type"];
}

std::vector<nlohmann::json> component_parts(const nlohmann::json& json, const std::string& component,
                                            const std::string& members) {
    if (json.is_null()) return {};
    if (component_type(json, component) != "Sequence") return {json};
    std::vector<nlohmann::json> parts;
    for (const auto& member : json.at(members)) {
        for (auto& part : component_parts(member, component, members)) parts.push_back(std::move(part));
    }
    return parts;
}

void refuse_type(const std::string& component, const std::string& type, std::string_view known) {
    fail("{} of type {} is not supported; supported are {}", component, type, known);
}

Regex component_pattern(const nlohmann::json& json, const std::string& component) {
    const auto& pattern = json.at("pattern");
    if (pattern.is_object() && pattern.contains("String"))
        return Regex(Regex::quote(pattern["String"].get<std::string>()));
    if (pattern.is_object() && pattern.contains("Regex")) return Regex(pattern["Regex"].get<std::string>());
    fail("{}: expected a pattern with String or Regex, got {}", component, pattern.dump());
}

}  // namespace ggq
