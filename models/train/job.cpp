#include "models/train/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "ggq/error.h"
#include "ggq/io/input_file.h"
#include "models/adapter_files.h"
#include "models/figures.h"
#include "models/train/smaller.h"
#include "models/untrained_end.h"

namespace ggq {

namespace {

TrainOptions settled(TrainOptions options, std::vector<std::string>& notes) {
    validate(options);
    notes = settle(options);
    return options;
}

std::unique_ptr<Backend> open_device(TrainOptions& options, std::unique_ptr<Backend> given,
                                     std::vector<std::string>& notes) {
    auto backend = given ? std::move(given) : make_backend(options.base);
    for (std::string& note : settle_device(options.base, *backend)) notes.push_back(std::move(note));
    notes.push_back("device: " + backend->description());
    return backend;
}

Model open_model_of(TrainOptions& options, std::vector<std::string>& notes) {
    if (options.from_scratch) return open_untrained(options.base.model, options.seed);
    Model model = open_model(options.base.model);
    take_form_of(model, options);
    if (const auto types = model.weights->packed(); types && !options.base.quant)
        notes.push_back("held as in the file: " + *types);
    if (const auto stored = model.weights->quantized()) notes.push_back("already quantized: " + describe(*stored));
    return model;
}

std::optional<std::string> warn_of_bare_layers(const Job& job) {
    const std::vector<std::string> bare = quantized_without_adapter(job.model.config, job.weights);
    if (bare.empty()) return std::nullopt;
    std::string list = bare[0];
    for (size_t i = 1; i < bare.size() && i < 4; ++i) list += ", " + bare[i];
    return fmt::format(
        "{} linear layers are quantized but have no adapter to make up for it ({}{}); `quant_only_adapted` leaves them "
        "as they are",
        bare.size(), list, bare.size() > 4 ? ", ..." : "");
}

}  // namespace

Job::Job(TrainOptions wanted, std::unique_ptr<Backend> device)
    : options(settled(std::move(wanted), notes)),
      backend(open_device(options, std::move(device), notes)),
      model(open_model_of(options, notes)),
      weights(weight_choice(options, model.config)) {
    peak_lr(options, model.n_weights());  // refuses what does not fit
    for (const std::string& data : {options.data, options.val_data})
        for (const auto& file : data_files(data))
            require(file.empty() || is_there(file), "{}: no such file", file.string());
    check_tokenizer_files(model.folder);
    warnings = model.warnings;
    if (model.config.attention_dropout > 0)
        warnings.push_back(
            fmt::format("config.json: attention_dropout {} is not applied; transformers would apply it in training",
                        model.config.attention_dropout));
    if (auto line = warn_of_bare_layers(*this)) warnings.push_back(*line);
    if (auto line = warn_of_untrained_end(model)) warnings.push_back(*line);
}

namespace {

// What does no harm where the data is only measured.
std::vector<std::string> warnings_of_teaching(const DatasetReport& r) {
    std::vector<std::string> lines;
    if (percent(r.label_tokens, r.tokens) < 1)
        lines.push_back("less than 1 % of the tokens carry loss; look at the masks with `show_samples`");
    if (r.missing_eos > 0)
        lines.push_back(
            fmt::format("{} samples were cut and do not end in EOS: they do not teach where to stop", r.missing_eos));
    return lines;
}

TrainingData read_data(const Job& job, const TrainEvents& events) {
    events.tell(job.notes);
    events.warn(job.warnings);
    TrainingData data = load_training_data(job.options, job.model, events.stop);
    const auto n_validation = static_cast<int64_t>(data.validation_samples().size());
    events.tell(describe(data.train.report, job.options.max_length, n_validation));
    events.warn(warnings_of(data.train.report));
    events.warn(warnings_of_teaching(data.train.report));
    const auto n_shown = std::min(data.train.train.size(), static_cast<size_t>(job.options.show_samples));
    for (size_t i = 0; i < n_shown && events.data_sample; ++i)
        events.data_sample(show_sample(data.train.train[i], job.model.tokenizer));
    return data;
}

void describe_updates(const RunData& run, const TrainEvents& events) {
    const auto updates = static_cast<double>(run.batches.n_updates());
    const Samples& samples = run.data.train.train;
    int64_t labels = 0;  // the data's report counts those of the validation samples too
    for (const Sample& sample : samples) labels += sample.n_label_tokens();
    events.tell(fmt::format("an update: {:.1f} samples, {:.0f} label tokens; an epoch: {} updates; in all: {} updates",
                            static_cast<double>(samples.size()) / updates, static_cast<double>(labels) / updates,
                            run.batches.n_updates(), run.total_steps));
    if (run.total_steps < 20)
        events.warn(
            fmt::format("only {} updates: too few to learn much; lower `batch_size` or `grad_accum`, or raise `epochs`",
                        run.total_steps));
}

}  // namespace

RunData::RunData(const Job& job, const TrainEvents& events)
    : data(read_data(job, events)),
      batches(data.train.train, training_batches(job.options)),
      total_steps(total_updates(job.options, batches.n_updates())),
      schedule(learning_rates(job.options, total_steps, job.model.n_weights())) {
    const Samples& validation = data.validation_samples();
    if (!validation.empty()) eval_batches.emplace(validation, batch_options(job.options));
    const Sample sample = validation.empty() ? data.train.train.front() : validation.front();
    const auto answer = std::ranges::find(sample.has_loss, uint8_t{1}) - sample.has_loss.begin();
    const auto cut = sample.ids.begin() + std::max<std::ptrdiff_t>(answer, 1);
    sample_prompt.assign(sample.ids.begin(), cut);
    sample_answer.assign(cut, sample.ids.end());
    describe_updates(*this, events);
}

TrainingModelOptions training_model_options(const Job& job, const RunData& run) {
    TrainingModelOptions o;
    o.engine = engine_options(job.options, job.model.config, run.batches.lengths());
    if (run.eval_batches) o.eval_lengths = run.eval_batches->lengths();
    const auto wanted = static_cast<int64_t>(run.sample_prompt.size()) + kSampleTokens;
    o.generator = {std::min(wanted, job.model.config.max_position_embeddings + 1), job.weights.compute()};
    return o;
}

std::unique_ptr<TrainingModel> planned_model(const Job& job, const RunData& run) {
    const auto planned = [&](int64_t together) {
        TrainingModelOptions options = training_model_options(job, run);
        options.engine.together = together;
        auto model = std::make_unique<TrainingModel>(*job.backend, job.model, options);
        model->set.fit();
        return model;
    };
    // Only micro-batches of one length run together, and only as many as were planned for.
    const int64_t n = job.options.grad_accum;
    const bool all_alike = job.options.packing && run.batches.n_micro_batches() >= n;
    return faster_order(planned, all_alike ? n : 1);
}

namespace {

// By a plan, which takes no memory. Of smaller batches and rows the lengths of micro-batches are not known without
// laying the data out again, but what they are at most.
int64_t missing_bytes(const Job& job, const RunData& run, const TrainOptions& smaller) {
    TrainingModelOptions o = training_model_options(job, run);
    const auto at_most = [&](const std::vector<int64_t>& lengths) {
        std::set<int64_t> shorter;
        for (int64_t length : lengths) shorter.insert(std::min(length, smaller.batch_size * smaller.max_length));
        return std::vector<int64_t>(shorter.begin(), shorter.end());
    };
    o.engine = engine_options(smaller, job.model.config, at_most(o.engine.lengths));
    o.eval_lengths = at_most(o.eval_lengths);
    TrainingModel planned(*job.backend, job.model, o);
    planned.set.fit();
    return planned.set.shortage().total();
}

}  // namespace

void require_fits(const TrainingModel& on_device, const Job& job, const RunData& run) {
    if (on_device.set.fits()) return;
    const auto missing = [&](const TrainOptions& smaller) { return missing_bytes(job, run, smaller); };
    on_device.set.require_fits(smaller_settings(job.options, on_device.set.shortage().total(), missing),
                               memory_cap(job.options.base));
}

}  // namespace ggq
