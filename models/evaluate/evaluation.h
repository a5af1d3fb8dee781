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

namespace ggq {

struct EvaluateOptions : DataChoice {
    BaseOptions base;
    std::vector<AdapterChoice> adapters;  // one at most
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
