// Whether a call computes what it should: against the same op on the CPU in double, where its kernels have one.
#pragma once

#include <string>

#include "bench/support/op_call.h"

namespace ggq::bench {

// Runs the call on its first set; empty if every output that is compared agrees. Of a call with much arithmetic a few
// rows are compared, and only outputs that have them.
std::string problem_with(BoundCall& call, const Call& spec);

}  // namespace ggq::bench
