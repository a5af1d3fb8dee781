// Whether a call computes what it should: against the same op on the CPU in double, where its kernels have one.
#pragma once

#include <memory>
#include <string>

#include "bench/support/op_call.h"

namespace ggq::bench {

// What a call should compute from its first set. Of a call with much arithmetic a few rows are compared, and only
// outputs that have them.
class Reference {
public:
    Reference(BoundCall& call, const Call& spec);
    ~Reference();
    Reference(const Reference&) = delete;
    Reference& operator=(const Reference&) = delete;

    // Runs the call on its first set; empty if every output that is compared agrees. What is written in place is right
    // the first time only.
    std::string problem(BoundCall& call) const;

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

inline std::string problem_with(BoundCall& call, const Call& spec) { return Reference(call, spec).problem(call); }

}  // namespace ggq::bench
