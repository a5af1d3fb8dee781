// Reading text files, with errors that name the file and the line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
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

// Refuses the short text that Git LFS leaves where a file was not fetched.
void refuse_lfs_pointer(std::string_view file, const std::string& name);

inline std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace ggq
