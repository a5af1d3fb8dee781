// What this machine's memory still holds.
#pragma once

#include <cstdint>

namespace ggq {

// Bytes that can be allocated before the machine, or a container's limit, runs out. Pages of files count as free.
int64_t available_host_bytes();

}  // namespace ggq
