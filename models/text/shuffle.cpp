#include "models/text/shuffle.h"

#include <algorithm>
#include <numeric>

#include "kernels/philox.h"

namespace ggq {

// Each thing draws 64 bits of its own, and the draws are sorted; equal draws stay in order.
std::vector<int64_t> shuffled(int64_t n, ShuffleFor purpose, uint64_t seed, uint64_t round) {
    const auto count = static_cast<size_t>(n);
    std::vector<uint64_t> draws(count);
    for (size_t i = 0; i < count; ++i) {
        const Philox4 random = philox4x32(seed, static_cast<uint64_t>(purpose), round << 40 | i);
        draws[i] = uint64_t{random.word[1]} << 32 | random.word[0];
    }
    std::vector<int64_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return draws[static_cast<size_t>(a)] < draws[static_cast<size_t>(b)];
    });
    return order;
}

}  // namespace ggq
