// The flags of each program, bound to its options. A flag of a feature that is not there yet is unknown.
#pragma once

#include "examples/support/cli.h"
#include "models/evaluate/evaluation.h"
#include "models/generate/options.h"
#include "models/train/options.h"
#include "models/train/run_plan.h"

namespace ggq {

struct PlanFlags {
    PlanRequest request;
    bool json = false;
    std::string picture;  // a file; empty: none
};

// The options must outlive the table.
FlagTable train_flags(TrainOptions& options);
FlagTable generate_flags(GenerateOptions& options);
FlagTable plan_flags(PlanFlags& options);
FlagTable evaluate_flags(EvaluateOptions& options);

}  // namespace ggq
