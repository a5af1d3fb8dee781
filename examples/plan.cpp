// plan: what a training run would take, before there is a run, its weights or its GPU.
//
//   build/bin/plan --shape llama3-70b --gpu h200 --gpu-memory 24GiB      (see --help)
//
// The plan goes to stdout. Takes the flags of train that decide about memory.
#include <iostream>

#include "examples/support/flags.h"
#include "examples/support/run_program.h"
#include "ggq/error.h"
#include "models/train/run_plan.h"

namespace ggq {

namespace {

int run(const Strings& args) {
    PlanFlags options;
    FlagTable flags = plan_flags(options);
    if (const auto text = flags.parse(args)) {
        std::cout << *text;
        return 0;
    }
    const RunPlan plan(options.request);
    if (options.json) {
        std::cout << plan.json() << std::endl;
    } else {
        for (const std::string& line : plan.on_device->plan_lines()) std::cout << line << '\n';
    }
    const std::string advice = plan.advice(options.request);
    require(advice.empty(), "it does not fit: {}", advice);
    return 0;
}

}  // namespace

}  // namespace ggq

int main(int argc, char** argv) { return ggq::run_program(argc, argv, ggq::run); }
