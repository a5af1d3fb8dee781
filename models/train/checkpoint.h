// Checkpoints: OUTPUT/checkpoint-N holds all that a run needs to go on with the same bits.
//
//   adapter_model.safetensors, adapter_config.json, ggq_base.json   the adapter (LoRA), or
//   model.safetensors, config.json, tokenizer files                 the model (full training), whose tensor file says
//                                                                   in its metadata that ggq wrote it, plus
//   optimizer.safetensors   m, v and their scales; under full training the f32 masters too
//   trainer_state.json      models/train/trainer_state.h; written last, with the hashes of all the others
//
// Where these folders lie and which of them is gone on from is the business of models/train/run_folder.h.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/base_record.h"
#include "models/model.h"
#include "models/train/engine.h"
#include "models/train/trainer_state.h"

namespace ggq {

inline constexpr const char* kModelFile = "model.safetensors";

// Writes the trained weights, as PEFT's adapter or as a model folder, into a folder that is there.
void write_trained(const std::filesystem::path& folder, TrainEngine& engine, const Model& model,
                   const std::optional<BaseRecord>& record);

// Of the files of write_trained() the one without which nobody loads the others: their configuration.
std::string key_file(const TrainEngine& engine);

bool is_own_model(const std::filesystem::path& file);  // whether a model file says that ggq wrote it

// What results of ours in this folder, adapter or model, consist of. What does not say that ggq wrote it is not among
// it. A file by which a result is known as ours comes after the others of that result.
std::vector<std::string> files_of_own_results(const std::filesystem::path& folder);

// All of a checkpoint into a folder that is there and empty; the state gets a record of the other files.
void write_checkpoint(const std::filesystem::path& folder, TrainEngine& engine, const Model& model,
                      const std::optional<BaseRecord>& record, TrainerState state);

// Parameters, optimizer state and counters into an allocated engine.
void restore(const std::filesystem::path& checkpoint, TrainEngine& engine, const TrainerState& state,
             const StopAsked& stop = {});

}  // namespace ggq
