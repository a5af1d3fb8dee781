// plan: what a training run would take, before there is a run, its weights or its GPU.
//
//   build/bin/plan --shape llama3-70b --gpu h200 --gpu-memory 24GiB      (see --help)
//
// The plan goes to stdout, and as a picture to a file where --picture names one. Takes the flags of train that decide
// about memory.
#include <fmt/format.h>

#include <filesystem>
#include <iostream>

#include "examples/support/flags.h"
#include "examples/support/memory_picture.h"
#include "examples/support/run_program.h"
#include "ggq/error.h"
#include "models/train/run_plan.h"

namespace ggq {

namespace {

std::string title_of(const PlanRequest& request) {
    const std::filesystem::path model = request.train.base.model;
    const std::string name = model.has_filename() ? model.filename() : model.parent_path().filename();
    return fmt::format("memory of an update: {}, {} x {} tokens", request.shape.empty() ? name : request.shape,
                       request.train.batch_size, request.train.max_length);
}

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
    if (!options.picture.empty()) save_picture(memory_of(*plan.on_device, title_of(options.request)), options.picture);
    const std::string advice = plan.advice(options.request);
    require(advice.empty(), "it does not fit: {}", advice);
    return 0;
}

}  // namespace

}  // namespace ggq

int main(int argc, char** argv) { return ggq::run_program(argc, argv, ggq::run); }
