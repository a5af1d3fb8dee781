// Plan: where every temporary of a graph lives, in which order the steps run, and what is copied between host and
// device meanwhile.
//
// A pure function of the graph, the options and the workspace that the backend wants: no memory is touched. Temporaries
// share one arena; two of them overlap only if they are never alive at the same time. What is paged (Residence::paged,
// and kept values that the budget has no room for) lies in host memory, and on the device only around its uses: each
// such stay is a planned tensor of its own, so that the address of a tensor is a function of the planned step.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "ggq/lane.h"
#include "ggq/place.h"
#include "ggq/recompute.h"

namespace ggq {

class Backend;

struct PlannedTensor {
    int32_t value = -1;                  // of the graph
    int32_t storage = -1;                // the planned tensor that owns its memory
    int64_t offset = -1;                 // in the arena, for owners that are temporaries or stays of a page
    int64_t bytes = 0;                   // of the owner's place
    int32_t first = 0, last = -1;        // planned steps between which an owner is alive
    bool in_place = false;               // a stay of a page that keeps its address, on a device that migrates
    std::optional<DType> restored = {};  // of a quantized weight: the type to which it is restored here
};

// An op, a copy between a place in the arena and the host, or the restoring of a quantized weight
// (ggq/restore_steps.h), by lane. A page in place is not copied but migrates.
struct PlannedStep {
    int32_t step = -1;  // of the graph; -1: none
    std::vector<int32_t> in = {},
                         out = {};  // planned tensors; a copy to the device has one out, one to the host has one in
    int64_t workspace_offset = 0, workspace_bytes = 0;
    bool recomputed = false;
    Lane lane = Lane::compute;
    int64_t host_offset = -1;  // of a copy, in the host's arena; -1: the home of a paged buffer
    std::vector<int32_t> after =
        {};  // planned steps of other lanes that have to have ended; of one's own all before have
};

// Whether it restores a weight: neither an op of the graph nor a copy.
inline bool is_restore(const PlannedStep& s) {
    return s.step < 0 && (s.lane == Lane::compute || s.lane == Lane::aside);
}

struct Plan {
    std::vector<PlannedTensor> tensors;
    std::vector<PlannedStep> steps;
    int64_t arena_bytes = 0;              // the arena's size: temporaries, pages and workspace at their planned offsets
    int64_t live_bytes = 0;               // the most that is alive at a step, the floor of arena_bytes
    int64_t workspace_bytes = 0;          // the largest of any step
    int64_t migrated_bytes = 0;           // the most of pages in place that are on the device at a step
    int64_t host_bytes = 0;               // of kept values on the host
    int64_t bytes_in = 0, bytes_out = 0;  // copied in a run
    int32_t n_recomputed = 0;             // steps that run a second time
    double keys_a_query = 0;              // by which its costs were weighed

    int64_t device_bytes() const { return arena_bytes + migrated_bytes; }
    int64_t n_restores() const { return std::ranges::count_if(steps, is_restore); }
    int64_t n_steps(Lane lane) const { return std::ranges::count(steps, lane, &PlannedStep::lane); }
};

struct PlanOptions {
    RecomputeChoice recompute = Recompute::none;
    // By value id, instead of what `recompute` says.
    std::optional<std::vector<bool>> kept = {};
    // What the arena may take; 0: as much as it wants. Beyond it pages leave earlier and come later, and with `offload`
    // kept values go to the host. The plan may still be larger: that is the caller's to look at.
    int64_t arena_budget = 0;
    bool offload = false;
    bool only_if_it_fits = false;  // a larger plan may have no offsets and is only a bound: not to be run
    bool restores = true;          // weights in steps of their own, where the backend has such
    int64_t beside_bytes = 0;      // what the run takes beside the arena: see RestoreRoom
    int64_t spare_bytes = 0;       // by which the arena may grow for restored weights, where nothing is recomputed
    bool layer_by_layer = false;   // of a graph with several passes; see ggq/layer_order.h
    double runs = 0;               // how often an update runs the program: by this its time is weighed against others'
    double keys_a_query = 0;       // the mean that attention's spans will name, for costs; 0: not known
};

Plan plan(const Graph& graph, const Backend& backend, const PlanOptions& options = {});

// Gives all that lies in the arena an offset, good enough if that takes no more than `enough` bytes. Where not even the
// sum of what is alive fits into `most_bytes`, nothing is placed.
void place_all(Plan& plan, int64_t enough = 0, int64_t most_bytes = INT64_MAX);

// The type in which a planned tensor is there.
TensorType type_of(const Graph& graph, const PlannedTensor& t);

// How long one run takes by the costs of a device, and how long of that it waits for copies. What restoring weights
// takes is in the costs of products, which were measured with it.
struct Duration {
    double seconds = 0, stalled = 0;
};
Duration duration(const Plan& plan, const Graph& graph, const Costs& costs);

// Arithmetic that one run needs, multiply-add counting 2. Recomputed steps count again, but for those that run again
// only for a by-product (LoRA's x a, which is next to nothing). `keys_a_query` is the mean number of keys that
// attention's spans name.
double flops(const Plan& plan, const Graph& graph, double keys_a_query);

}  // namespace ggq
