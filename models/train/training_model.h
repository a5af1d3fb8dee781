// What a training run holds on the device: the model with its optimizer, and over the same weights the programs that
// measure validation loss and answer a sample. All of it is one ProgramSet.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/evaluate/evaluator.h"
#include "models/generate/generator.h"
#include "models/train/engine.h"

namespace ggq {

struct TrainingModelOptions {
    EngineOptions engine;
    std::vector<int64_t> eval_lengths;  // none: there is no evaluator
    GeneratorOptions generator;
};

struct TrainingModel {
    TrainingModel(Backend& backend, const Model& model, const TrainingModelOptions& options)
        : set(backend), engine(set, model, options.engine), generator(set, engine.llama(), options.generator) {
        if (!options.eval_lengths.empty()) evaluator.emplace(set, engine.llama(), options.eval_lengths);
    }

    // About what the micro-batches of an update take, and how long of that they wait for pages.
    Duration an_update(int64_t n_micro_batches) const;

    // The programs of an update, in order: the micro-batch, or those of an update together, and the optimizer's.
    std::vector<const Program*> iteration() const;

    // A line a class of memory, and the sum.
    std::vector<std::string> memory_lines() const;
    // And what each program needs of the arena, and what the model is made of.
    std::vector<std::string> plan_lines() const;

    ProgramSet set;
    TrainEngine engine;
    Generator generator;
    std::optional<Evaluator> evaluator;
};

// Of plans with one micro-batch at a time and with all `n_micro_batches` of an update together, the one that takes less
// time; the second is made only where the first waits for pages.
std::unique_ptr<TrainingModel> faster_order(
    const std::function<std::unique_ptr<TrainingModel>(int64_t together)>& planned, int64_t n_micro_batches);

}  // namespace ggq
