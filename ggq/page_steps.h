// Lowers pages into a plan: chooses their stays on the device and adds the copies, with what they wait for.
#pragma once

#include "ggq/plan.h"

namespace ggq {

// `plan` has its ops, owners and lifetimes but no offsets; afterwards its pages are stays, among its steps are copies,
// and lifetimes count these. `room` are the bytes that the arena may take at a step, temporaries included; 0: any.
void insert_pages(const Graph& graph, const Backend& backend, int64_t room, bool offload, Plan& plan);

}  // namespace ggq
