#include "models/evaluate/evaluation.h"

#include <fmt/format.h>

#include "models/figures.h"

#include <cmath>

#include "ggq/error.h"
#include "ggq/stop.h"
#include "models/option_checks.h"

namespace ggq {

void validate(const EvaluateOptions& options) {
    validate(options.base);
    validate(static_cast<const DataChoice&>(options));
    validate(options.adapters);
    require_not_negative("shots", options.shots);
    require_positive("max_new_tokens", options.max_new_tokens);
    const bool loss = options.task == EvalTask::loss;
    require(!loss || (options.shots == 0 && options.shots_data.empty() && options.system.empty()),
            "`shots`, `shots_data` and `system` are of a `task`, which is loss here");
}

double perplexity(const Evaluation& evaluation) { return std::exp(evaluation.loss); }

Evaluation run_evaluation(EvaluateOptions options, const Events& events, Profile* profile) {
    validate(options);
    const auto backend = make_backend(options.base);
    events.tell(settle_device(options.base, *backend));
    events.tell("device: " + backend->description());
    const AdaptedModel opened = open_adapted(options.base, options.adapters, events);
    opened.check_base(events);
    const Dataset dataset =
        load_samples(file_of_data(options.data, kTestParts), data_options(options), opened.model, events.stop);
    events.tell(describe(dataset.report, options.max_length));
    events.warn(warnings_of(dataset.report));
    const Batches batches(dataset.train, batch_options(options));

    ProgramSet set(*backend);
    const auto llama = opened.declare(set.store(), options.base);
    Evaluator evaluator(set, *llama, batches.lengths());
    evaluator.set_profile(profile);
    set.fit();
    set.require_fits("lower `batch_size` or `max_length`", memory_cap(options.base));
    events.tell(fmt::format("base in {}; {:.1f} MiB", describe(options.base), mebibytes(set.memory().total())));
    set.allocate([&] { opened.load(set.store(), *llama, events.stop); });

    const auto evaluation = evaluator.evaluate(batches, events.stop);
    if (!evaluation) throw Interrupted();
    require(std::isfinite(evaluation->loss), "the loss over {} is {}; the model or its adapter has diverged",
            options.data, evaluation->loss);
    return *evaluation;
}

}  // namespace ggq
