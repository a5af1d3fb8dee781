// What the planner weighs work by, measured.
//
// A document of 8,192 tokens through four layers of an 8B tells what an op reaches: of the arithmetic or of the bytes a
// second, whichever is nearer to the most that any op reaches. One of 512 tokens tells what a call takes beside its
// work. Both are timed step by step, less what the shortest op takes so, which is the host's part; what a call takes
// beside is then scaled so that the whole takes as long as when it is not timed step by step. Copies are of 256 MiB of
// pinned memory, the best of five.
#pragma once

#include "ggq/backend.h"

namespace ggq::bench {

// Of a GPU. Throws Error where it has no room.
Costs measured_costs(Backend& backend);

}  // namespace ggq::bench
