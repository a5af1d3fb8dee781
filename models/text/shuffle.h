// An order of n things that depends on a seed and a round alone, so that a run that resumes meets the same order.
#pragma once

#include <cstdint>
#include <vector>

namespace ggq {

// What an order is for: the same seed and round give different orders for different purposes.
enum class ShuffleFor : uint64_t { epoch = 0x65706f6368, packing = 0x7061636b, validation = 0x76616c6964 };

// A permutation of 0 .. n-1.
std::vector<int64_t> shuffled(int64_t n, ShuffleFor purpose, uint64_t seed, uint64_t round = 0);

}  // namespace ggq
