// Checkpoints: OUTPUT/checkpoint-N holds all that a run needs to go on with the same bits.
//
//   adapter_model.safetensors, adapter_config.json, ggq_base.json   the adapter (LoRA), or
//   model.safetensors, config.json, tokenizer files                 the model (full training), plus
//   optimizer.safetensors   m, v and their scales; under full training the f32 masters too
//   trainer_state.json      transformers' keys, and under "ggq" counters, settings and hashes
//
// The folder is written aside, synced and renamed.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/base_record.h"
#include "models/model.h"
#include "models/train/engine.h"

namespace ggq {

// What identifies a run, so that another one is not continued by mistake.
struct RunIdentity {
    nlohmann::ordered_json options;
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
};

// Writes the trained weights, as PEFT's adapter or as a model folder, into a folder that is there.
void write_trained(const std::filesystem::path& folder, TrainEngine& engine, const Model& model,
                   const std::optional<BaseRecord>& record);

void write_checkpoint(const std::filesystem::path& output, TrainEngine& engine, const Model& model,
                      const std::optional<BaseRecord>& record, const TrainerState& state);

int64_t checkpoint_number(const std::filesystem::path& folder);  // N of "checkpoint-N", or -1

// Every OUTPUT/checkpoint-N, by rising N.
std::vector<std::filesystem::path> checkpoints(const std::filesystem::path& output);

// Removes all checkpoints of a run but the newest `keep`.
void remove_old_checkpoints(const std::filesystem::path& output, int64_t keep);

// The newest OUTPUT/checkpoint-N; throws Error if there is none.
std::filesystem::path newest_checkpoint(const std::filesystem::path& output);

TrainerState read_trainer_state(const std::filesystem::path& checkpoint);

// Throws Error naming what differs between a checkpoint's run and this one; with `accept` returns the differences.
std::vector<std::string> check_identity(const RunIdentity& before, const RunIdentity& now, bool accept);

// Parameters, optimizer state and counters into an allocated engine.
void restore(const std::filesystem::path& checkpoint, TrainEngine& engine, const TrainerState& state);

}  // namespace ggq
