// What this machine's memory still holds.
#pragma once

#include <cstdint>
#include <filesystem>

namespace ggq {

// Bytes that can be allocated before the machine, or a limit on this process's groups, as containers have, runs out.
// Pages of files count as free. `root` is where /proc and /sys are found.
int64_t available_host_bytes(const std::filesystem::path& root = "/");

}  // namespace ggq
