// What the parts of a tokenizer.json have in common: a type by name, and patterns that are strings or expressions.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "models/text/regex.h"

namespace ggq {

// A whole number of 0 to 2^31 - 2. `whose` names the token for the error.
int32_t token_id(const nlohmann::json& json, std::string_view whose);

// The parts of a component in order: none for null, the members of a (nested) Sequence, else the component itself.
// `members` names the field that holds a Sequence's parts, `component` the whole for errors. They point into `json`.
// No tokenizer needs more than a handful; each is run over every text, so more than 64 are refused.
std::vector<const nlohmann::json*> component_parts(const nlohmann::json& json, const std::string& component,
                                                   const std::string& members);

std::string component_type(const nlohmann::json& json, const std::string& component);

[[noreturn]] void refuse_type(const std::string& component, const std::string& type, std::string_view known);

// What a component puts into a text, at most 256 bytes: from "content" or the field that is named.
std::string component_content(const nlohmann::json& json, const std::string& component,
                              const std::string& field = "content");

// The character that Metaspace puts in the place of a space.
std::string metaspace_mark(const nlohmann::json& json, const std::string& component);

// {"String": text} or {"Regex": expression}.
Regex component_pattern(const nlohmann::json& json, const std::string& component);

}  // namespace ggq
