// The parts of a training run that are decided before it: what is trained, on which data, in how many updates.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/adapter_files.h"
#include "models/base_model.h"
#include "models/text/batches.h"
#include "models/text/dataset.h"
#include "models/train/checkpoint.h"
#include "models/train/options.h"
#include "models/train/schedule.h"

namespace ggq {

// How options hold the model in memory; throws Error for targets or layers that match nothing.
WeightChoice weight_choice(const TrainOptions& options, const LlamaConfig& config);

struct TrainingData {
    Dataset train;
    std::optional<Dataset> validation;  // of --val-data; else train.validation, which may be empty

    const std::vector<Sample>& validation_samples() const { return validation ? validation->train : train.validation; }
    std::string hash() const;
};

TrainingData load_training_data(const TrainOptions& options, const BaseModel& base);

// What a person should know of the data before the first step, a line each.
std::vector<std::string> describe_data(const TrainingData& data, const TrainOptions& options);
std::vector<std::string> warn_of_data(const TrainingData& data);

BatchOptions batch_options(const TrainOptions& options, bool training);
LrSchedule learning_rates(const TrainOptions& options, int64_t total_steps, int64_t n_base_params);
int64_t total_updates(const TrainOptions& options, int64_t updates_an_epoch);
OptimizerChoice optimizer_choice(const TrainOptions& options);

// What the adapter's folder records of its base.
BaseRecord base_record(const TrainOptions& options, const std::string& base_hash);

// "trainable params: 1,234 || all params: 56,789 || trainable%: 2.1730", as PEFT prints it.
std::string trainable_line(int64_t n_trained, int64_t n_all);

// A line a class of memory, and the sum.
std::vector<std::string> memory_lines(const MemoryUse& use, int64_t cache_bytes);

}  // namespace ggq
