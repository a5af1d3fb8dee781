#include "models/train/trainer.h"

#include <fmt/format.h>

#include <utility>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "models/lora.h"
#include "models/train/checkpoint.h"
#include "models/train/job.h"
#include "models/train/loop.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;

// "trainable params: 1,234 || all params: 56,789 || trainable%: 2.1730", as PEFT prints it.
std::string trainable_line(int64_t n_trained, int64_t n_all) {
    return fmt::format("trainable params: {} || all params: {} || trainable%: {:.4f}", thousands(n_trained),
                       thousands(n_all), percent(n_trained, n_all));
}

class Run {
public:
    Run(TrainOptions options, const TrainEvents& events, Profile* profile)
        : events_(events), profile_(profile), job_(std::move(options)) {}

    TrainResult run() {
        const bool only_prints = options().plan || options().print_graph;
        if (!only_prints) look_at_output();
        const RunData data(job_, events_);
        TrainingModel on_device(*job_.backend, job_.model, training_model_options(job_, data));
        show(on_device);
        if (only_prints) return {};
        require_fits(on_device, job_, data);
        identify(data);
        const OutputFolder output(options().output);
        load(on_device);
        return train(data, on_device);
    }

private:
    const TrainOptions& options() const { return job_.options; }

    // What can be refused before the data is read.
    void look_at_output() {
        require(!options().output.empty(), "--output: expected a folder for the result, got none");
        check_output_folder(options().output, options().overwrite || options().resume.has_value());
        if (!options().resume) return;
        checkpoint_ = options().resume->empty() ? newest_checkpoint(options().output) : fs::path(*options().resume);
        state_ = read_trainer_state(checkpoint_);
    }

    void show(TrainingModel& on_device) const {
        on_device.engine.set_profile(profile_);
        if (on_device.evaluator) on_device.evaluator->set_profile(profile_);
        const int64_t n_trained = on_device.engine.parameters().n_trained();
        events_.tell(trainable_line(n_trained, job_.model.n_weights() + (job_.trains_all() ? 0 : n_trained)));
        const auto& print = options().plan ? events_.print : events_.note;
        for (const std::string& line : on_device.memory_lines())
            if (print) print(line);
        if (options().print_graph && events_.print) events_.print(to_string(on_device.engine.micro_graph()));
    }

    void identify(const RunData& data) {
        const std::string base_hash = job_.model.hash();
        record_ = {options().base.model, base_hash, job_.weights};
        const RunIdentity identity{options_json(options()), data.data.hash(), base_hash};
        if (options().resume) {
            for (const std::string& change : check_identity(state_.identity, identity, options().accept_changes))
                events_.warn("changed since the checkpoint: " + change);
            heed_device(state_.identity.options.value("device", ""), options().base.device);
        } else {
            overwritten_ = checkpoints(options().output);
        }
        state_.identity = identity;
        state_.total_steps = data.total_steps;
    }

    void heed_device(const std::string& before, const std::string& now) const {
        const auto kind = [](const std::string& device) { return device.substr(0, device.find(':')); };
        if (kind(before) != kind(now) && before != "auto")
            events_.warn(
                fmt::format("the run began on {} and goes on on {}, where sums round differently", before, now));
    }

    void load(TrainingModel& on_device) const {
        TrainEngine& engine = on_device.engine;
        on_device.set.allocate([&] { load_weights(engine.store(), engine.llama(), *job_.model.weights); });
        if (options().resume) restore(checkpoint_, engine, state_);
        else fill_new_adapter(engine.store(), engine.llama(), options().seed);
        events_.tell(fmt::format("data {}, base {}, adapter seed {}", state_.identity.data_hash,
                                 state_.identity.base_hash, options().seed));
        if (options().resume)
            events_.tell(
                fmt::format("resumed from {} after {} updates", checkpoint_.string(), state_.counters.updates));
    }

    TrainResult train(const RunData& data, TrainingModel& on_device) {
        TrainLog log = open_log();
        if (!options().resume) show_sample(data, on_device, false);
        TrainLoop loop(job_, data, on_device, std::move(log), state_, events_,
                       [&](const TrainerState& state) { save(on_device.engine, state); });
        try {
            loop.run();
        } catch (const Error& e) {
            fail("{}{}", e.what(), where_to_go_on());
        }
        const TrainResult result = loop.finish();
        if (result.interrupted) return result;
        write_result(on_device.engine);
        try {
            show_sample(data, on_device, true);
        } catch (const Error& e) {  // the result is saved
            events_.warn(fmt::format("no answer to show: {}", e.what()));
        }
        return result;
    }

    TrainLog open_log() const {
        const nlohmann::ordered_json run_line = {{"options", state_.identity.options},
                                                 {"data_hash", state_.identity.data_hash},
                                                 {"base_hash", state_.identity.base_hash}};
        const fs::path path = fs::path(options().output) / "log.jsonl";
        return options().resume ? TrainLog::resume(path, run_line, state_.counters.updates)
                                : TrainLog::start(path, run_line);
    }

    std::string where_to_go_on() const {
        std::vector<fs::path> ours = checkpoints(options().output);
        std::erase_if(ours, [&](const fs::path& p) { return std::ranges::count(overwritten_, p) > 0; });
        return ours.empty() ? "" : fmt::format("; {} is whole, and --resume goes on from it", ours.back().string());
    }

    void save(TrainEngine& engine, const TrainerState& state) {
        write_checkpoint(options().output, engine, job_.model, adapter_record(), state);
        remove_overwritten(state.counters.updates);
        if (options().keep_last) remove_old_checkpoints(options().output, *options().keep_last);
    }

    // The checkpoints of the run that this one replaces go when this one has its first.
    void remove_overwritten(int64_t step) {
        const std::vector<fs::path> gone = std::exchange(overwritten_, {});
        for (const fs::path& old : gone)
            if (checkpoint_number(old) != step) fs::remove_all(old);
    }

    std::optional<BaseRecord> adapter_record() const {
        return job_.trains_all() ? std::nullopt : std::optional(record_);
    }

    void write_result(TrainEngine& engine) const {
        AtomicFolder folder(options().output, IfFolderExists::merge);
        write_trained(folder.staging(), engine, job_.model, adapter_record());
        copy_tokenizer_files(job_.model.folder, folder.staging());
        folder.commit();
    }

    void show_sample(const RunData& data, TrainingModel& on_device, bool after) const {
        if (!events_.sample) return;
        const Tokenizer& t = job_.model.tokenizer;
        GenerationOptions g;
        g.sampler.temperature = 0;
        g.max_new_tokens = kSampleTokens;
        g.stop_tokens = job_.model.stop_tokens();
        g.vocabulary = job_.model.n_tokens();
        const Generation answer = on_device.generator.generate(data.sample_prompt, g);
        events_.sample({after, t.decode(data.sample_prompt), t.decode(data.sample_answer), t.decode(answer.tokens)});
    }

    const TrainEvents& events_;
    Profile* profile_;
    Job job_;
    BaseRecord record_;
    fs::path checkpoint_;  // that is resumed
    TrainerState state_;
    std::vector<fs::path> overwritten_;  // checkpoints that were in the output folder before
};

}  // namespace

TrainResult run_training(TrainOptions options, const TrainEvents& events, Profile* profile) {
    return Run(std::move(options), events, profile).run();
}

}  // namespace ggq
