// The order of a graph's steps layer by layer: where a graph holds several passes, each forward and then backward, all
// of them go through a layer before any goes to the next. What the layers share is then read once for all passes.
#pragma once

#include <cstdint>
#include <vector>

#include "ggq/graph.h"

namespace ggq {

// Step numbers, in order. A pass ends where a backward step is followed by a forward one. Within a layer the passes
// keep their order, and so do sums over them.
std::vector<int32_t> layer_by_layer(const Graph& graph);

}  // namespace ggq
