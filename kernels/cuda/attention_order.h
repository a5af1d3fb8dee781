// In which order blocks of threads that own keys add to dq (attention_backward_hopper.cu). The tiles of keys of a part
// (a key head, or a split of its query heads) are shared out among units, which start in order of their numbers. Tiles
// below `half` are second ones: unit u has tile n - 1 - u, then, if u < half, tile u.
#pragma once

#include "kernels/host_device.h"

namespace ggq::cuda {

struct KeyTiles {
    int tiles[2], n;
};

GGQ_HOST_DEVICE constexpr int units_of(int n_key_tiles, int half) { return n_key_tiles - half; }

GGQ_HOST_DEVICE constexpr KeyTiles key_tiles_of(int unit, int n_key_tiles, int half) {
    return {{n_key_tiles - 1 - unit, unit}, unit < half ? 2 : 1};
}

// How many of the tiles of keys [begin, end) that a tile of queries sees add to it before `tile` does: from the last
// one down to `half`, then from the first one up to it. No unit waits for a later one but in its second tile, for the
// first tile of that one.
GGQ_HOST_DEVICE constexpr int n_before(int tile, int begin, int end, int half) {
    if (tile >= half) return end - 1 - tile;
    const int first_ones = end - (half > begin ? half : begin);
    return (first_ones > 0 ? first_ones : 0) + tile - begin;
}

}  // namespace ggq::cuda
