// What a training run will do, decided and checked before any device memory is taken or anything is written.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "models/train/setup.h"
#include "models/train/trainer.h"
#include "models/train/training_model.h"

namespace ggq {

// Options, machine and model.
struct Job {
    // Throws Error for options that contradict each other, the machine or the model.
    // `device`: instead of the one that they name.
    explicit Job(TrainOptions wanted, std::unique_ptr<Backend> device = nullptr);

    std::vector<std::string> notes, warnings;  // what a person should know of it
    TrainOptions options;                      // with what will be done in the place of wishes
    std::unique_ptr<Backend> backend;
    Model model;
    WeightChoice weights;

    bool trains_all() const { return options.train == TrainKind::full; }
};

// The samples, how they are laid into updates, and how many of those there will be.
struct RunData {
    // Throws Error for data that cannot be used. Says what there is to know of job and data, once nothing of it is
    // refused.
    RunData(const Job& job, const TrainEvents& events);
    RunData(const RunData&) = delete;  // batches look into data
    RunData& operator=(const RunData&) = delete;

    double epoch_of(int64_t n_updates) const {
        return static_cast<double>(n_updates) / static_cast<double>(batches.n_updates());
    }

    TrainingData data;
    Batches batches;
    std::optional<Batches> eval_batches;
    int64_t total_steps;
    LrSchedule schedule;
    // A validation sample, or training sample, cut before its first token with loss.
    std::vector<int32_t> sample_prompt, sample_answer;
};

constexpr int64_t kSampleTokens = 64;  // of the answer generated before and after

TrainingModelOptions training_model_options(const Job& job, const RunData& data);

// Planned and fitted into what is free: each micro-batch by itself, or those of an update layer by layer together where
// copies of pages would else be waited for.
std::unique_ptr<TrainingModel> planned_model(const Job& job, const RunData& data);

// Throws Error when the plan does not fit, naming what would.
void require_fits(const TrainingModel& on_device, const Job& job, const RunData& data);

}  // namespace ggq
