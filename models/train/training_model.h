// What a training run holds on the device: the model with its optimizer, and over the same weights the programs that
// measure validation loss and answer a sample. All of it is one ProgramSet.
#pragma once

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

    // A line a class of memory, and the sum.
    std::vector<std::string> memory_lines() const;

    ProgramSet set;
    TrainEngine engine;
    Generator generator;
    std::optional<Evaluator> evaluator;
};

}  // namespace ggq
