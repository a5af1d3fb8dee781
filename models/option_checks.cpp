#include "models/option_checks.h"

#include <cctype>
#include <cmath>
#include <optional>
#include <utility>

#include "ggq/error.h"

namespace ggq {

void require_positive(std::string_view option, double value) {
    require(std::isfinite(value) && value > 0, "`{}`: expected a number above 0, got {}", option, value);
}

void require_positive(std::string_view option, int64_t value) {
    require(value > 0, "`{}`: expected a number above 0, got {}", option, value);
    require_at_most(option, value, kMostOfAnything);
}

void require_not_negative(std::string_view option, double value) {
    require(std::isfinite(value) && value >= 0, "`{}`: expected a number of at least 0, got {}", option, value);
}

void require_not_negative(std::string_view option, int64_t value) {
    require(value >= 0, "`{}`: expected a number of at least 0, got {}", option, value);
    require_at_most(option, value, kMostOfAnything);
}

void require_at_most(std::string_view option, int64_t value, int64_t most) {
    require(value <= most, "`{}`: expected at most {}, got {}", option, most, value);
}

void require_fraction(std::string_view option, double value) {
    require(value >= 0 && value < 1, "`{}`: expected a number from 0 to below 1, got {}", option, value);
}

namespace {

// "24GiB", "800 MB", "1.5g" or a number of bytes.
std::optional<int64_t> bytes_of(const std::string& text) {
    size_t used = 0;
    double number = 0;
    try {
        number = std::stod(text, &used);
    } catch (const std::exception&) {
        return std::nullopt;
    }
    std::string unit;
    for (char c : text.substr(used))
        if (c != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    constexpr std::pair<std::string_view, double> kUnits[] = {
        {"", 1},       {"b", 1},      {"kb", 1e3},     {"mb", 1e6},     {"gb", 1e9},     {"k", 0x1p10},
        {"m", 0x1p20}, {"g", 0x1p30}, {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30},
    };
    for (const auto& [name, factor] : kUnits)
        if (name == unit && std::isfinite(number) && number > 0 && number * factor < 0x1p62)
            return static_cast<int64_t>(number * factor);
    return std::nullopt;
}

}  // namespace

int64_t memory_size(std::string_view option, const std::string& text) {
    const auto bytes = bytes_of(text);
    require(bytes.has_value(), "`{}`: expected a size such as 24GiB, got '{}'", option, text);
    return *bytes;
}

}  // namespace ggq
