// What is asked before something large is written.
#pragma once

#include <cstdint>
#include <filesystem>

namespace ggq {

// Throws Error where the file system that `path`, which need not be there yet, will lie on has less room than that.
void require_disk_space(const std::filesystem::path& path, int64_t n_bytes);

}  // namespace ggq
