// trainer_state.json of a checkpoint: what a run needs to go on beside tensors. Transformers' keys, so that its tools
// read it, and under "ggq" the counters, settings and hashes, and a record of the checkpoint's other files.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "ggq/io/file_record.h"
#include "models/option_checks.h"
#include "models/train/engine.h"

namespace ggq {

// What identifies a run, so that another one is not continued by mistake.
struct RunIdentity {
    std::shared_ptr<const nlohmann::ordered_json> options;  // options_json()
    std::string data_hash;
    std::string base_hash;
};

struct TrainerState {
    RunIdentity identity;
    EngineCounters counters;
    double epoch = 0;
    int64_t total_steps = 0;
    int64_t n_tokens = 0;  // seen so far
    double best_loss = 0;  // of validation; meaningful if best_step > 0
    int64_t best_step = 0;
    int64_t evaluations_without_gain = 0;
    double window_loss = 0;  // sum over the updates since the last log entry
    int64_t window_updates = 0;
    std::vector<nlohmann::ordered_json> log_history;

    int64_t generation = 0;  // which of the processes that wrote into the output folder: models/train/run_folder.h
    FileRecord files;        // the other files of the checkpoint; none in those of before there was a record
};

inline constexpr int64_t kMostGeneration = kMostOfAnything - 1;  // one more can be counted
inline constexpr const char* kStateFile = "trainer_state.json";
inline constexpr const char* kOptimizerFile = "optimizer.safetensors";

void write_trainer_state(const std::filesystem::path& checkpoint, const TrainerState& state);

// Throws Error for what no run of ggq writes, naming the value. A folder called checkpoint-N must hold step N.
TrainerState read_trainer_state(const std::filesystem::path& checkpoint);

int64_t checkpoint_number(const std::filesystem::path& folder);  // N of "checkpoint-N", or -1
std::filesystem::path checkpoint_path(const std::filesystem::path& output, int64_t number);

// Throws Error naming what differs between a checkpoint's run and this one; with `accept` returns the differences.
std::vector<std::string> check_identity(const RunIdentity& before, const RunIdentity& now, bool accept);

// "lr: was 0.0002, is 0.001" for every setting that two saved runs do not share, but for those that may change when a
// run is resumed: where it runs, where it writes and what it prints.
std::vector<std::string> changed_options(const nlohmann::ordered_json& before, const nlohmann::ordered_json& now);

}  // namespace ggq
