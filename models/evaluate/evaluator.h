// Evaluator: the loss of a model over micro-batches, of one that is being trained as of one with nothing to train.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "ggq/program_set.h"
#include "models/batch_inputs.h"
#include "models/llama.h"
#include "models/text/batches.h"

namespace ggq {

struct Evaluation {
    double loss = 0;  // mean over the label tokens
    double seconds = 0;
    int64_t n_samples = 0, n_batches = 0;
    int64_t n_tokens = 0, label_tokens = 0;
};

class Evaluator {
public:
    // A program for each length of micro-batch. `llama` must outlive it.
    Evaluator(ProgramSet& set, const Llama& llama, const std::vector<int64_t>& lengths);
    Evaluator(const Evaluator&) = delete;
    Evaluator& operator=(const Evaluator&) = delete;

    double loss_sum(const MicroBatch& batch);  // of its labelled tokens

    // Over all micro-batches, in order; nothing if `stop`, which is asked before each, said true.
    std::optional<Evaluation> evaluate(const Batches& batches, const std::function<bool()>& stop = {});

    void set_profile(Profile* profile) { profile_ = profile; }  // null: none

private:
    void add_program(ProgramSet& set, const Llama& llama, int64_t length);

    Store& store_;
    BatchInputs inputs_;
    Buffer* sum_;
    std::map<int64_t, Program*> programs_;  // by length
    Profile* profile_ = nullptr;
};

}  // namespace ggq
