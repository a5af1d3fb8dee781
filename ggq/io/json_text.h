// JSON that stands inside or beside a file of tensors, parsed with an error that names the file and the place.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

namespace ggq {

// `where` names the text in errors.
nlohmann::json parse_json_text(std::span<const std::byte> text, const std::string& where);

// Refuses the short text that Git LFS leaves where a file was not fetched.
void refuse_lfs_pointer(std::span<const std::byte> file, const std::string& where);

}  // namespace ggq
