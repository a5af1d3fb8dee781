// What lies in a plan's arena at each of its steps, by what it is there for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ggq/plan.h"

namespace ggq {

struct ArenaUse {
    // Kept activations: temporaries that a forward step makes, not for a second time, and that a backward step or a
    // recomputed one reads, from where they were made or from where they came back to after waiting on the host.
    int64_t kept = 0;
    int64_t temporaries = 0;  // all others, recomputed values, gradients and restored weights among them
    int64_t pages = 0;        // stays of weights and optimizer state whose home is the host
    int64_t workspace = 0;
    int64_t migrated = 0;  // pages of unified memory, which have no place in the arena

    int64_t live() const { return kept + temporaries + pages + workspace; }
};

// A planned step each, in bytes with alignment; the largest live() is Plan::live_bytes.
std::vector<ArenaUse> arena_use(const Plan& plan, const Graph& graph);

// The first step at which most is alive; 0 of none.
size_t fullest_step(const std::vector<ArenaUse>& use);

// The first step of the backward pass; the number of steps where there is none.
size_t first_backward_step(const Plan& plan, const Graph& graph);

}  // namespace ggq
