// What work costs on a device, in seconds: by this the planner weighs what to keep, to run again and to move.
#pragma once

#include <string>
#include <vector>

#include "ggq/op.h"

namespace ggq {

// Estimates, which decide what is done when but never what comes out.
struct Costs {
    struct OpRate {
        std::string op;
        double flops = 0, bytes = 0;  // a second
    };

    double flops = 1e11, bytes = 1e10;  // a second, of ops that are not listed
    std::vector<OpRate> ops;
    double start = 0;                       // seconds that a step takes beside its work
    double copy_in = 1e10, copy_out = 1e10;  // bytes a second between the host and the device

    double seconds(const OpCall& call) const;
};

}  // namespace ggq
