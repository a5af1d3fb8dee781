// The checks that all options share. A sentence names an option in backquotes, as its field is called: `max_length`;
// what a user types for it is a program's to know.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ggq {

// More than any count can sensibly be, and little enough that products of two cannot overflow.
inline constexpr int64_t kMostOfAnything = INT32_MAX;

// Each throws an Error that names the option, the range and the value. NaN is in no range.
void require_positive(std::string_view option, double value);
void require_positive(std::string_view option, int64_t value);  // and at most kMostOfAnything
void require_not_negative(std::string_view option, double value);
void require_not_negative(std::string_view option, int64_t value);  // and at most kMostOfAnything
void require_at_most(std::string_view option, int64_t value, int64_t most);
void require_fraction(std::string_view option, double value);  // 0 <= value < 1

// Bytes of "24GiB", "500 MB", "1e9". Throws Error that names the option.
int64_t memory_size(std::string_view option, const std::string& text);

}  // namespace ggq
