// What the parts of a tokenizer.json have in common: a type by name, and patterns that are strings or expressions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "models/text/regex.h"

namespace ggq {

// The parts of a component in order: none for null, the members of a (nested) Sequence, else the component itself.
// `members` names the field that holds a Sequence's parts, `component` the whole for errors.
std::vector<nlohmann::json> component_parts(const nlohmann::json& json, const std::string& component,
                                            const std::string& members);

std::string component_type(const nlohmann::json& json, const std::string& component);

[[noreturn]] void refuse_type(const std::string& component, const std::string& type, std::string_view known);

// {"String": text} or {"Regex": expression}.
Regex component_pattern(const nlohmann::json& json, const std::string& component);

}  // namespace ggq
