// Everything that a training run can be told, as plain data with its defaults.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/base_options.h"
#include "models/data_choice.h"
#include "models/option_names.h"

namespace ggq {

struct TrainOptions : DataChoice {
    struct Lora {
        int64_t r = 16;
        double alpha = 32;
        double dropout = 0.05;
        bool rslora = false;
        DType adapter_dtype = DType::f32;
        std::string targets = "all-linear";  // or a list "q_proj,v_proj", or a regular expression
        std::string layers;                  // "8": the last 8; "4-7,12"; empty: all
    };

    BaseOptions base;

    std::string val_data;
    double val_split = 0;

    std::string output;
    bool overwrite = false;

    TrainKind train = TrainKind::lora;
    bool from_scratch = false;
    Lora lora;

    int64_t grad_accum = 4;
    std::optional<int64_t> global_batch_size;  // gives grad_accum

    double epochs = 1;
    std::optional<int64_t> max_steps;  // overrides epochs
    std::optional<double> lr;          // nothing: by the size of the base
    LrScheduler lr_scheduler = LrScheduler::linear;
    double lr_min = 0;
    double warmup_ratio = 0.03;
    std::optional<int64_t> warmup_steps;  // overrides warmup_ratio

    OptimKind optim = OptimKind::paged_adamw_8bit;
    double weight_decay = 0;
    double adam_beta1 = 0.9;
    double adam_beta2 = 0.999;
    double adam_eps = 1e-8;
    double max_grad_norm = 1;      // 0: no clipping
    int64_t min_8bit_size = 4096;  // smaller tensors keep their state in 32 bits
    RecomputeChoice recompute = Recompute::automatic;

    int64_t log_every = 10;
    int64_t eval_every = 0;            // 0: at the end only
    int64_t save_every = 100;          // 0: at the end only
    std::optional<int64_t> keep_last;  // nothing: every checkpoint
    std::optional<int64_t> patience;   // evaluations without a better loss before the run ends; nothing: never

    std::optional<std::string> resume;  // empty: the newest checkpoint in the output folder
    bool accept_changes = false;
    uint64_t seed = 42;

    int64_t show_samples = 0;
    bool lint = false;  // look for what is wrong with the data and end (models/lint/lint.h)
    bool json = false;  // what was found as JSON
    bool plan = false;  // print the memory plan and end
    bool print_graph = false;
    bool profile = false;
    bool quiet = false;
};

// Refuses what cannot work: numbers out of their range, by flag, and wishes that contradict each other.
void validate(const TrainOptions& options);

// Replaces wishes by what will be done, once validated: grad_accum from global_batch_size, no quantization where every
// weight is trained. Returns a sentence for each change that a user should
// know.
std::vector<std::string> settle(TrainOptions& options);

// lr, or else 2e-4, and 1e-4 for a base of more than 33 billion parameters. Refuses a lr_min above it.
double peak_lr(const TrainOptions& options, int64_t n_base_params);

// Keys are the flags with '_' for '-', so that what is saved can be given back as a configuration file.
nlohmann::ordered_json options_json(const TrainOptions& options);

}  // namespace ggq
