// What a device can do at most, beside which a run's arithmetic is shown.
#pragma once

#include "ggq/program_set.h"

namespace ggq {

// Multiply-adds a second, each counting 2, of the largest of a few square products in the computing type that fits in
// the programs' arena, between their runs: a few milliseconds, and no memory. 0 where the arena is too small to tell.
double measured_ceiling(ProgramSet& set, DType real);

}  // namespace ggq
