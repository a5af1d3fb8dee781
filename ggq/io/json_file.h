// Reading text files and JSON, with errors that name the file and the line. Every JSON text that is read comes through
// here, so that its limits hold for all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "ggq/io/input_file.h"

namespace ggq {

// The whole file without a byte order mark; refuses what is missing, unreadable, no file, a Git LFS pointer or not
// UTF-8.
std::string read_text_file(const std::filesystem::path& path, InputFile::Takes takes = InputFile::Takes::files);

// The same for a text that lies beside a model or an adapter, perhaps of somebody else: see refuse_link_out().
std::string read_side_file(const std::filesystem::path& path);

// 1 for the first line.
int64_t line_of(std::string_view text, size_t offset);

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

// Refuses the short text that Git LFS leaves where a file was not fetched.
void refuse_lfs_pointer(std::string_view file, const std::string& name);

inline std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace ggq
