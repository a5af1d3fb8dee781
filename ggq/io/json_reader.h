// Reading JSON, with errors that name the file and the line. Every JSON text that is read comes through here, so that
// its limits hold for all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace ggq {

// Lists and objects within each other, at most. Files of models have some ten.
inline constexpr size_t kMostJsonLevels = 512;

// A key that an object has twice: the last one counts, as in Python, or the text is refused.
enum class SameKey { last_counts, refused };

// `first_line` is the number of the line on which `text` begins in the file called `name`. Throws Error for whatever is
// not JSON, numbers beyond double and what is nested too deep among it.
nlohmann::json parse_json(std::string_view text, const std::string& name, int64_t first_line = 1,
                          SameKey same_key = SameKey::last_counts);

// The same with the keys in the order of the text.
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& name, int64_t first_line = 1);

// A value for an error message: as JSON, without what a terminal would obey, long ones cut.
std::string shown_json(const nlohmann::json& value);

// What is wrong, of the message of an exception of nlohmann's: without its "[json.exception.type_error.302] ".
std::string json_reason(std::string_view message);

}  // namespace ggq
