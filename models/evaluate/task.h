// Tests with questions: how many a model answers rightly.
//
// choices  Each question with its choices as lines "A. ..." and "Answer:" behind; the letter whose token is the
//          likeliest next one is the answer (Hendrycks et al., Measuring Massive Multitask Language Understanding).
// answers  "Question: ..." and "Answer:"; the last number of what is generated, greedily, is the answer (Cobbe et al.,
//          Training Verifiers to Solve Math Word Problems).
//
// Questions with their answers may stand in front (shots). With a chat template a question is what a person says, and
// shots are turns before it.
#pragma once

#include <string>
#include <vector>

#include "models/evaluate/evaluation.h"

namespace ggq {

struct TaskScore {
    int64_t n = 0, n_right = 0;

    double accuracy() const { return n > 0 ? static_cast<double>(n_right) / static_cast<double>(n) : 0; }
    double standard_error() const;  // of the accuracy: sqrt(p (1 - p) / (n - 1))
};

struct TaskResult {
    struct File {
        std::string name;
        TaskScore score;
    };
    TaskScore all;
    std::vector<File> files;
    int64_t n_without_number = 0;  // answers in which there was none
    int64_t n_fewer_shots = 0;     // questions that had no room for all shots
    int64_t n_too_long = 0;        // questions that had no room at all, and were left out
    int64_t prompt_tokens = 0, new_tokens = 0;
    double seconds = 0;
};

// Throws Error and Interrupted as run_evaluation(). `limit` is of each file.
TaskResult run_task(EvaluateOptions options, const Events& events, Profile* profile = nullptr);

}  // namespace ggq
