// A table of the names of an option's values. The first row of a value is the name that we print; rows marked as alias
// are what users of other programs type.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/check.h"

namespace ggq {

template <typename T>
struct OptionName {
    T value;
    std::string_view text;
    bool alias = false;
};

template <typename T, std::size_t N>
constexpr std::optional<T> find_option(const OptionName<T> (&table)[N], std::string_view text) {
    for (const OptionName<T>& row : table)
        if (row.text == text) return row.value;
    return std::nullopt;
}

template <typename T, std::size_t N>
std::string option_text(const OptionName<T> (&table)[N], const T& value) {
    for (const OptionName<T>& row : table)
        if (row.value == value) return std::string(row.text);
    GGQ_ASSERT(false, "an option's value has no name");
    return {};
}

// "lora|full"
template <typename T, std::size_t N>
std::string option_list(const OptionName<T> (&table)[N]) {
    std::string list;
    for (const OptionName<T>& row : table) {
        if (row.alias) continue;
        if (!list.empty()) list += '|';
        list += row.text;
    }
    return list;
}

}  // namespace ggq
