// Lowers quantized weights into a plan: where a product would restore the whole of one in its workspace, a step of its
// own restores it beforehand, into a planned tensor that the product reads in its place.
//
// A restored weight is a page whose home are its codes: the policy of pages (ggq/page_policy.h) says from when until
// when each is there. Uses near each other, such as the recomputed forward pass of a layer and its backward pass, or
// micro-batches that go through it together, thus share one. Of what there is no room for, that goes whose next use is
// farthest: it is restored again. Where restoring is a large share of the time (few hundred rows) and no budget binds,
// it runs ahead on lane aside, beside products that leave a part of the card idle; else just before its use.
//
// First they get what the plan leaves below its own peak, in which each product's workspace already had a place for
// one. To keep one longer saves about 0.4 ps a byte on an H200, what a layer makes 2 ps or more and a page on the host
// 20: so of a budget they get what the ladder of kept values (ggq/recompute.h) and pages leave, and of memory without a
// limit only as much as is worth it: a larger share of the run's time for the share by which its memory grows. A plan
// that recomputes nothing has memory to spare: there they stay from the forward pass to the backward pass.
//
// The bits are the same, since the kernels are: the one that restores and the one that multiplies. Which steps restore
// at all is said by their rows (OpDef::cuda_restores). Weights that are paged themselves are restored at their
// use. A backend whose products read codes, such as the CPU, has no such steps.
#pragma once

#include "ggq/plan.h"

namespace ggq {

// `plan` has its ops, copies and lifetimes; what it has of offsets is not what they are afterwards. `room`: bytes that
// the arena may take at a step, all included; beyond it each step that restores still has its own. False, and the plan
// as it was, where nothing is to be restored. `lane`: compute, or aside for what is not paged.
bool insert_restores(const Graph& graph, const Backend& backend, int64_t room, Plan& plan, Lane lane = Lane::compute);

// The most steps that it may insert.
int64_t most_restores(const Graph& graph, const Backend& backend, const Plan& plan);

struct RestoreRoom {
    int64_t arena_bytes = 0;   // of the arena that is there anyway
    int64_t most_bytes = 0;    // to which it may grow
    int64_t beside_bytes = 0;  // that the run takes beside the arena; 0: not known, and the arena does not grow
    int64_t spare_bytes = 0;   // by which the arena may grow, worth it or not, where nothing is recomputed
    bool aside = false;        // whether lane aside may be used, whose branches take memory in recordings
};

// A placed plan with its restores, placed again.
Plan with_restores(const Graph& graph, const Backend& backend, Plan plan, const RestoreRoom& room);

// What a step that restores calls.
class RestoreCall {
public:
    RestoreCall(const Graph& graph, const Plan& plan, const PlannedStep& s);
    RestoreCall(const TensorType& codes, DType to);
    OpCall call() const;

private:
    TensorType in_, out_;
    ParamBlock params_;
};

}  // namespace ggq
