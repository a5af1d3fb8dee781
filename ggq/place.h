// Places in an arena of blocks that are known with their lifetimes.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/rounding.h"

namespace ggq {

inline constexpr int64_t kArenaAlignment = 256;

// What a block takes.
constexpr int64_t place_bytes(int64_t bytes) { return round_up(bytes, kArenaAlignment); }

struct Lifetime {
    int64_t bytes = 0;
    int32_t first = 0, last = 0;  // steps
};

// The most that is alive at a step.
int64_t most_alive(const std::vector<Lifetime>& blocks);

// Offsets at which blocks that are alive together do not overlap. Of a few orders the first is taken that needs no more
// than `enough` bytes, else the one that needs least.
std::vector<int64_t> place(const std::vector<Lifetime>& blocks, int64_t enough = 0);

}  // namespace ggq
