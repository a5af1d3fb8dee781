// What work costs on a device, in seconds: by this the planner weighs what to keep, to run again and to move.
#pragma once

#include <string>
#include <vector>

#include "ggq/op.h"

namespace ggq {

// Estimates, which decide what is done when but never what comes out.
struct Costs {
    struct Rate {
        std::string op;
        double flops = 1e11, bytes = 1e10;  // a second
        double start = 0;                   // seconds beside its work
    };

    std::vector<Rate> ops;
    Rate rest;                               // of ops that are not listed
    double copy_in = 1e10, copy_out = 1e10;  // bytes a second between the host and the device

    double seconds(const OpCall& call) const;
};

}  // namespace ggq
