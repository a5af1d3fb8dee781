// A whole evaluation: options in, loss and perplexity of a data file out. The library prints nothing; notes and
// warnings come through Events.
#pragma once

#include <string>
#include <vector>

#include "ggq/program.h"
#include "models/adapted_model.h"
#include "models/base_options.h"
#include "models/data_choice.h"
#include "models/evaluate/evaluator.h"
#include "models/events.h"
#include "models/option_table.h"

namespace ggq {

// What is measured: the loss over the data, the share of questions with choices that are answered rightly, or that of
// sums whose last number is right in a text that is generated (models/evaluate/task.h).
enum class EvalTask { loss, choices, answers };

inline constexpr OptionName<EvalTask> kEvalTasks[] = {
    {EvalTask::loss, "loss"},          {EvalTask::choices, "choices"},     {EvalTask::answers, "answers"},
    {EvalTask::choices, "mmlu", true}, {EvalTask::answers, "gsm8k", true},
};

struct EvaluateOptions : DataChoice {
    EvalTask task = EvalTask::loss;
    int64_t shots = 0;       // questions with their answers that stand before each
    std::string shots_data;  // where they are from; empty: the first ones of each file, which are then not asked
    std::string system;      // of a chat template
    int64_t max_new_tokens = 512;
    BaseOptions base;
    std::vector<AdapterChoice> adapters;  // what they add adds up
    bool json = false;
    bool quiet = false;
    bool profile = false;
};

void validate(const EvaluateOptions& options);

// exp(loss), infinite where that is too large for a double.
double perplexity(const Evaluation& evaluation);

// Every sample of the data, as training would see it, without dropout. Throws Error for whatever the options, the files
// or the machine make impossible, and Interrupted when `events.stop` ends it: half an evaluation is none.
Evaluation run_evaluation(EvaluateOptions options, const Events& events, Profile* profile = nullptr);

}  // namespace ggq
