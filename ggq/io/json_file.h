// Reading text files and JSON, with errors that name the file and the line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

namespace ggq {

// The whole file without a byte order mark; refuses what is missing, unreadable, a Git LFS pointer or not UTF-8.
std::string read_text_file(const std::filesystem::path& path);

// 1 for the first line.
int64_t line_of(std::string_view text, size_t offset);

// `first_line` is the number of the line on which `text` begins in the file called `name`.
nlohmann::json parse_json(std::string_view text, const std::string& name, int64_t first_line = 1);

// Refuses the short text that Git LFS leaves where a file was not fetched.
void refuse_lfs_pointer(std::string_view file, const std::string& name);

inline std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace ggq
