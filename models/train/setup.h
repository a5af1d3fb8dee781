// What is decided before a training run, from its options: the parts of Job and RunData, each by itself.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/data_choice.h"
#include "models/model.h"
#include "models/text/dataset.h"
#include "models/train/engine.h"
#include "models/train/options.h"
#include "models/train/parameters.h"
#include "models/train/schedule.h"

namespace ggq {

// How options hold the model in memory; throws Error for targets or layers that match nothing.
// Takes the form of a checkpoint that is quantized already; refuses to train it in full.
void take_form_of(const Model& model, TrainOptions& options);

WeightChoice weight_choice(const TrainOptions& options, const LlamaConfig& config);

struct TrainingData {
    Dataset train;
    std::optional<Dataset> validation;  // of val_data; else train.validation, which may be empty

    const Samples& validation_samples() const { return validation ? validation->train : train.validation; }
    std::string hash() const;
};

TrainingData load_training_data(const TrainOptions& options, const Model& model, const StopAsked& stop = {});

BatchOptions training_batches(const TrainOptions& options);
LrSchedule learning_rates(const TrainOptions& options, int64_t total_steps, int64_t n_base_params);
int64_t total_updates(const TrainOptions& options, int64_t updates_an_epoch);
OptimizerChoice optimizer_choice(const TrainOptions& options);
EngineOptions engine_options(const TrainOptions& options, const LlamaConfig& config, std::vector<int64_t> lengths);

}  // namespace ggq
