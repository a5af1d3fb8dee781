// Plan: where every temporary of a graph lives, and in which order the steps run.
//
// A pure function of the graph, the recompute policy and the workspace that the backend wants: no memory is touched.
// Temporaries share one arena; two of them overlap only if they are never alive at the same time.
#pragma once

#include <vector>

#include "ggq/recompute.h"

namespace ggq {

class Backend;

inline constexpr int64_t kArenaAlignment = 256;

struct PlannedTensor {
    int32_t value = -1;            // of the graph
    int32_t storage = -1;          // the planned tensor that owns its memory
    int64_t offset = -1;           // in the arena, for owners that are temporaries
    int64_t bytes = 0;             // of the owner's place
    int32_t first = 0, last = -1;  // steps between which an owner is alive
};

struct PlannedStep {
    int32_t step = 0;
    std::vector<int32_t> in, out;  // planned tensors
    int64_t workspace_offset = 0, workspace_bytes = 0;
    bool recomputed = false;
};

struct Plan {
    std::vector<PlannedTensor> tensors;
    std::vector<PlannedStep> steps;
    int64_t arena_bytes = 0;      // the arena's size: temporaries and workspace at their planned offsets
    int64_t live_bytes = 0;       // the most that is alive at a step, the floor of arena_bytes
    int64_t workspace_bytes = 0;  // the largest of any step
    int32_t n_recomputed = 0;     // steps that run a second time
};

struct PlanOptions {
    Recompute recompute = Recompute::none;
};

Plan plan(const Graph& graph, const Backend& backend, const PlanOptions& options = {});

// Arithmetic that one run needs, multiply-add counting 2. Recomputed steps count again, but for those that run again
// only for a by-product (LoRA's x a, which is next to nothing). `keys_a_query` is the mean number of keys that
// attention's spans name.
double flops(const Plan& plan, const Graph& graph, double keys_a_query);

// Places blocks of (bytes, first step, last step) so that those alive together do not overlap; returns the offsets.
struct Lifetime {
    int64_t bytes = 0;
    int32_t first = 0, last = 0;
};
std::vector<int64_t> place(const std::vector<Lifetime>& blocks);

}  // namespace ggq
