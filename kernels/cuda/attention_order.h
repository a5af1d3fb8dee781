// In which order blocks of threads that own keys add to dq (attention_backward_hopper.cu). The tiles of keys of a part
// (a key head, or a split of its query heads) are shared out among units. Blocks take numbers as they start, and
// numbers say units. Tiles below `half` are second ones: unit u has tile n - 1 - u, then, if u < half, tile u.
//
// Without second ones (half is 0) late keys come first, kBesides parts side by side (their queries share the cache),
// and no unit waits for a later number. Folded (half is n / 2), units of one causal document have equally much to do; a
// unit may wait, in its second tile, for the first one of a later unit of its part, so all of those have to run at a
// time, and parts follow each other.
#pragma once

#include <cstdint>

#include "kernels/host_device.h"

namespace ggq::cuda {

inline constexpr int kBesides = 8;

GGQ_HOST_DEVICE constexpr int units_of(int n_key_tiles, int half) { return n_key_tiles - half; }

struct PartUnit {
    int part, unit;  // part is n_parts or more where there is nothing left to do
};

GGQ_HOST_DEVICE constexpr PartUnit unit_of(int number, int n_parts, int n_key_tiles, int half) {
    const int n = units_of(n_key_tiles, half);
    if (half > 0) return {number / n, number % n};
    const int first = number / (kBesides * n) * kBesides, left = n_parts - first,
              width = left < kBesides ? left : kBesides;
    return {first + number % (kBesides * n) % width, number % (kBesides * n) / width};
}

struct KeyTiles {
    int tiles[2], n;
};

GGQ_HOST_DEVICE constexpr KeyTiles key_tiles_of(int unit, int n_key_tiles, int half) {
    return {{n_key_tiles - 1 - unit, unit}, unit < half ? 2 : 1};
}

// How many of the tiles of keys [begin, end) that a tile of queries sees add to it before `tile` does: from the last
// one down to `half`, then from the first one up to it.
GGQ_HOST_DEVICE constexpr int n_before(int tile, int begin, int end, int half) {
    if (tile >= half) return end - 1 - tile;
    const int first_ones = end - (half > begin ? half : begin);
    return (first_ones > 0 ? first_ones : 0) + tile - begin;
}

// The work of a part, in tiles of queries: of all its tiles of keys, of the two with most that a unit has if folded.
struct PartWork {
    int64_t all;
    int longest_pair;
};

// Folding pays where pairs are alike: then no unit has much more to do than the average one.
GGQ_HOST_DEVICE constexpr bool folding_pays(const PartWork& work, int n_key_tiles) {
    return int64_t{20} * work.longest_pair * ((n_key_tiles + 1) / 2) <= 23 * work.all;
}

}  // namespace ggq::cuda
