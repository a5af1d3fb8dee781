#include "ggq/io/json_fields.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "ggq/error.h"

namespace ggq {

JsonFields::JsonFields(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {
    require(object_.is_object(), "{}: expected a JSON object", where_);
}

const nlohmann::json* JsonFields::find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void JsonFields::refuse(const char* key, const char* expected) const {
    const nlohmann::json* value = find(key);
    fail("{}: {} must be {}, got {}", where_, key, expected, value ? value->dump() : "nothing");
}

int64_t JsonFields::count(const char* key) const {
    const nlohmann::json* value = find(key);
    constexpr uint64_t kMost = std::numeric_limits<int32_t>::max();
    const bool ok = value && value->is_number_unsigned() && value->get<uint64_t>() - 1 < kMost;
    if (!ok) refuse(key, "a whole number of 1 or more");
    return value->get<int64_t>();
}

int64_t JsonFields::count_or(const char* key, int64_t fallback) const { return find(key) ? count(key) : fallback; }

double JsonFields::positive(const char* key) const {
    const nlohmann::json* value = find(key);
    const bool ok = value && value->is_number() && std::isfinite(value->get<double>()) && value->get<double>() > 0;
    if (!ok) refuse(key, "a number above zero");
    return value->get<double>();
}

double JsonFields::positive_or(const char* key, double fallback) const { return find(key) ? positive(key) : fallback; }

bool JsonFields::flag_or(const char* key, bool fallback) const {
    const nlohmann::json* value = find(key);
    if (!value) return fallback;
    if (!value->is_boolean()) refuse(key, "true or false");
    return value->get<bool>();
}

std::string JsonFields::text_or(const char* key, const std::string& fallback) const {
    const nlohmann::json* value = find(key);
    if (!value) return fallback;
    if (!value->is_string()) refuse(key, "a text");
    return value->get<std::string>();
}

}  // namespace ggq
