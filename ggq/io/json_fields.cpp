#include "ggq/io/json_fields.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"

namespace ggq {

namespace {

using nlohmann::json;

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

// 0 to 2^31 - 1, which some writers put as 8192.0.
std::optional<int64_t> whole_number(const json& value) {
    if (!value.is_number()) return std::nullopt;
    const auto number = value.get<double>();  // exact for all that is in the range
    if (number < 0 || number > static_cast<double>(kMost) || number != std::floor(number)) return std::nullopt;
    return static_cast<int64_t>(number);
}

}  // namespace

bool says_nothing(const json& value) {
    return value.is_null() || value == false || value == 0 || value == "" || (!value.is_primitive() && value.empty());
}

JsonFields::JsonFields(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    require(object_.is_object(), "{}: expected a JSON object", where_);
}

const json* JsonFields::find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void JsonFields::refuse(const char* key, const char* expected) const {
    const json* value = find(key);
    fail("{}: {} must be {}, got {}", where_, key, expected, value ? shown_json(*value) : "nothing");
}

int64_t JsonFields::count(const char* key) const {
    const json* value = find(key);
    const std::optional<int64_t> number = value ? whole_number(*value) : std::nullopt;
    if (!number || *number < 1) refuse(key, "a whole number of 1 or more");
    return *number;
}

int64_t JsonFields::count_or(const char* key, int64_t fallback) const { return find(key) ? count(key) : fallback; }

std::vector<int32_t> JsonFields::numbers_or_none(const char* key, const char* expected) const {
    const json* value = find(key);
    if (!value || *value == "") return {};  // 0 is a number
    std::vector<int32_t> numbers;
    for (const json& element : value->is_array() ? *value : json::array({*value})) {
        const std::optional<int64_t> number = whole_number(element);
        if (!number) refuse(key, expected);
        numbers.push_back(static_cast<int32_t>(*number));
    }
    return numbers;
}

double JsonFields::positive(const char* key) const {
    const json* value = find(key);
    const bool ok = value && value->is_number() && std::isfinite(value->get<double>()) && value->get<double>() > 0;
    if (!ok) refuse(key, "a number above zero");
    return value->get<double>();
}

double JsonFields::positive_or(const char* key, double fallback) const { return find(key) ? positive(key) : fallback; }

bool JsonFields::flag_or(const char* key, bool fallback) const {
    const json* value = find(key);
    if (!value) return fallback;
    if (!value->is_boolean()) refuse(key, "true or false");
    return value->get<bool>();
}

std::string JsonFields::text_or(const char* key, const std::string& fallback) const {
    const json* value = find(key);
    if (!value) return fallback;
    if (!value->is_string()) refuse(key, "a text");
    return value->get<std::string>();
}

}  // namespace ggq
