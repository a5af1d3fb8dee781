// A whole training run: options in, trained adapter (or model), log and checkpoints out.
//
// The library prints nothing: what a person wants to see comes through TrainEvents, each of which may be empty.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "ggq/backend.h"
#include "ggq/program.h"
#include "models/events.h"
#include "models/train/options.h"

namespace ggq {

struct StepReport {
    int64_t step = 0, total_steps = 0;
    double epoch = 0;
    double loss = 0, grad_norm = 0, learning_rate = 0;
    double tokens_per_second = 0, seconds_left = 0;
    double share_of_ceiling = 0;  // of the device's arithmetic, see models/train/ceiling.h; 0: not known
    int64_t peak_bytes = 0;
};

struct EvalReport {
    int64_t step = 0;
    double loss = 0;
};

struct SampleReport {
    bool after = false;  // the training
    std::string prompt, expected, answer;
};

// `stop` is asked after each update and each batch of an evaluation: true saves and ends. It is asked as well while
// data are read and the model is loaded, when there is nothing to save yet. An update that is running is ended first.
struct TrainEvents : Events {
    std::function<void(const std::string&)> print;        // a line of what plan or print_graph asked for
    std::function<void(const std::string&)> data_sample;  // what show_samples asked for: lines of the data's own words
    std::function<void(const StepReport&)> step;
    std::function<void(const EvalReport&)> evaluation;
    std::function<void(const SampleReport&)> sample;
};

struct TrainResult {
    bool interrupted = false;
    bool saved = false;          // a checkpoint; an interrupt before the first update leaves nothing
    bool stopped_early = false;  // patience
    int64_t steps = 0;
    double first_loss = 0, last_loss = 0;  // of the first and last update of this process
    double eval_loss = 0;                  // 0 without validation data
    int64_t allocations_after_first_step = 0;
};

// Throws Error for whatever the options, the files or the machine make impossible; nothing half written is left.
// With options.plan or options.print_graph it ends after printing the plan or the graph; it throws as well if the plan
// that was asked for does not fit. `device`: one to take instead of that which the options name.
TrainResult run_training(TrainOptions options, const TrainEvents& events, Profile* profile = nullptr,
                         std::unique_ptr<Backend> device = nullptr);

}  // namespace ggq
