// The filters by families; find_filter() looks through all of them.
#pragma once

#include <span>
#include <string_view>
#include <utility>

#include "models/jinja/render.h"

namespace ggq::jinja {

using FunctionRow = std::pair<std::string_view, Function>;

std::span<const FunctionRow> text_filters();
std::span<const FunctionRow> list_filters();
std::span<const FunctionRow> value_filters();

Function find_function(std::span<const FunctionRow> rows, std::string_view name);

// The part of `value` that `attribute` names: "a.b", or an index.
Value part_of(const Value& value, const Value& attribute);

// An argument that a filter cannot do without.
const Value& needed(const Arguments& given, size_t at, std::string_view name, std::string_view filter);
int64_t integer_or(const Arguments& given, size_t at, std::string_view name, int64_t fallback);
bool flag_or(const Arguments& given, size_t at, std::string_view name, bool fallback);
Text text_or(const Arguments& given, size_t at, std::string_view name, const Text& fallback);

}  // namespace ggq::jinja
