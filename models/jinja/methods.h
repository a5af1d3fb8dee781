// The methods that values have under a name.
#pragma once

#include <span>
#include <string_view>
#include <utility>

#include "models/jinja/render.h"

namespace ggq::jinja {

using Method = Value (*)(const Value& self, const Arguments& given);
using MethodRow = std::pair<std::string_view, Method>;

std::span<const MethodRow> text_methods();

}  // namespace ggq::jinja
