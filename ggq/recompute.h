// Which forward values a backward pass keeps and which it makes again.
//
// The decision is a set of kept values; schedule() turns it into steps: wherever a backward step reads a value that is
// not kept, the forward steps that lead to it from kept ones are run once more, just before. What no backward step asks
// for is thus never recomputed: of a layer without adapters its last product.
//
// A step that writes state, or reads persistent memory that was overwritten since, would not make the same values
// again. What it made the first time is then read, kept or not.
#pragma once

#include <vector>

#include "ggq/graph.h"

namespace ggq {

enum class Recompute : uint8_t {
    none,  // every value that a backward step reads is kept
    full   // between layers only: one tensor a layer
};

// By value id.
std::vector<bool> kept_values(const Graph& graph, Recompute policy);

// One step to run; tensor numbers index Schedule::values.
struct ScheduledStep {
    int32_t step = 0;  // of the graph
    std::vector<int32_t> in, out;
    bool recomputed = false;
};

struct Schedule {
    std::vector<int32_t> values;  // the graph's value behind each tensor; a recomputed value has a tensor of its own
    std::vector<ScheduledStep> steps;
};

Schedule schedule(const Graph& graph, const std::vector<bool>& kept);

}  // namespace ggq
