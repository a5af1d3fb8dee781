#include "models/train/trainer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "ggq/error.h"
#include "models/figures.h"
#include "models/lora.h"
#include "models/train/checkpoint.h"
#include "models/train/job.h"
#include "models/train/loop.h"
#include "models/train/run_folder.h"

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
    Run(TrainOptions options, const TrainEvents& events, Profile* profile, std::unique_ptr<Backend> device)
        : events_(events), profile_(profile), job_(std::move(options), std::move(device)) {}

    TrainResult run() {
        const bool only_prints = options().plan || options().print_graph;
        if (!only_prints) look_at_output();
        const RunData data(job_, events_);
        const std::unique_ptr<TrainingModel> on_device = planned_model(job_, data);
        show(*on_device);
        if (options().plan || !options().print_graph) require_fits(*on_device, job_, data);
        if (only_prints) return {};
        identify(data);
        load(*on_device);
        return train_or_say_what_is_left(data, *on_device);
    }

private:
    const TrainOptions& options() const { return job_.options; }

    // What can be refused before the data is read.
    void look_at_output() {
        require(!options().output.empty(), "`output`: expected a folder for the result, got none");
        folder_.emplace(
            options(), [this](const std::string& line) { events_.warn(line); }, events_.stop);
        if (folder_->saved_state()) state_ = *folder_->saved_state();
    }

    void show(TrainingModel& on_device) const {
        on_device.engine.set_profile(profile_);
        if (on_device.evaluator) on_device.evaluator->set_profile(profile_);
        const int64_t n_trained = on_device.engine.parameters().n_trained();
        events_.tell(trainable_line(n_trained, job_.model.n_weights() + (job_.trains_all() ? 0 : n_trained)));
        const auto& print = options().plan ? events_.print : events_.note;
        for (const std::string& line : options().plan ? on_device.plan_lines() : on_device.memory_lines())
            if (print) print(line);
        if (options().print_graph && events_.print) events_.print(to_string(on_device.engine.micro_graph()));
    }

    void identify(const RunData& data) {
        const std::string base_hash = job_.model.hash(events_.stop);
        record_ = {options().base.model, base_hash, job_.weights};
        const RunIdentity identity{std::make_shared<const nlohmann::ordered_json>(options_json(options())),
                                   data.data.hash(), base_hash};
        if (options().resume) {
            for (const std::string& change : check_identity(state_.identity, identity, options().accept_changes))
                events_.warn("changed since the checkpoint: " + change);
            heed_device(options().base.device);
        }
        folder_->require_room(data.total_steps);
        state_.identity = identity;
        state_.total_steps = data.total_steps;
    }

    void heed_device(const std::string& now) const {
        const auto saved = state_.identity.options->find("device");
        if (saved == state_.identity.options->end() || !saved->is_string()) return;
        const std::string before = saved->get<std::string>();
        const auto kind = [](const std::string& device) { return device.substr(0, device.find(':')); };
        if (kind(before) != kind(now) && before != "auto")
            events_.warn(
                fmt::format("the run began on {} and goes on on {}, where sums round differently", before, now));
    }

    void load(TrainingModel& on_device) const {
        TrainEngine& engine = on_device.engine;
        on_device.set.allocate(
            [&] { load_weights(engine.store(), engine.llama(), *job_.model.weights, events_.stop); });
        if (on_device.set.memory().host_total() > 0)
            events_.tell("memory of the host: " + job_.backend->host_memory_form());
        if (options().resume) restore(folder_->resumed_from(), engine, state_, events_.stop);
        else fill_new_adapter(engine.store(), engine.llama(), options().seed);
        events_.tell(fmt::format("data {}, base {}, adapter seed {}", state_.identity.data_hash,
                                 state_.identity.base_hash, options().seed));
        if (options().resume)
            events_.tell(fmt::format("resumed from {} after {} updates", folder_->resumed_from().string(),
                                     state_.counters.updates));
    }

    TrainResult train_or_say_what_is_left(const RunData& data, TrainingModel& on_device) {
        try {
            return train(data, on_device);
        } catch (const Error& e) {
            fail("{}{}", e.what(), folder_->where_to_go_on());
        } catch (const std::bad_alloc&) {
            fail("out of memory{}", folder_->where_to_go_on());
        }
    }

    TrainResult train(const RunData& data, TrainingModel& on_device) {
        TrainLog log = open_log();
        rehearse(data, on_device);
        if (!options().resume) show_sample(data, on_device, false);
        TrainLoop loop(job_, data, on_device, std::move(log), state_, events_,
                       [&](TrainerState& state) { save(on_device.engine, state); });
        loop.run();
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
        return folder_->open_log({{"options", *state_.identity.options},
                                  {"data_hash", state_.identity.data_hash},
                                  {"base_hash", state_.identity.base_hash}});
    }

    // What comes later in a run fails now, if it has to: an evaluation, a checkpoint. A sample is shown anyway.
    void rehearse(const RunData& data, TrainingModel& on_device) {
        if (data.eval_batches)
            on_device.evaluator->loss_sum(data.eval_batches->micro_batch(data.eval_batches->order(0), 0));
        folder_->rehearse_checkpoint(state_, [&](const fs::path& staging) {
            write_checkpoint(staging, on_device.engine, job_.model, adapter_record(), state_);
        });
    }

    void save(TrainEngine& engine, TrainerState& state) {
        folder_->save_checkpoint(state, [&](const fs::path& staging) {
            write_checkpoint(staging, engine, job_.model, adapter_record(), state);
        });
    }

    std::optional<BaseRecord> adapter_record() const {
        return job_.trains_all() ? std::nullopt : std::optional(record_);
    }

    void write_result(TrainEngine& engine) const {
        folder_->save_result(key_file(engine), [&](const fs::path& staging) {
            write_trained(staging, engine, job_.model, adapter_record());
            copy_tokenizer_files(job_.model.folder, staging);
        });
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
    std::optional<RunFolder> folder_;
    TrainerState state_;
};

}  // namespace

TrainResult run_training(TrainOptions options, const TrainEvents& events, Profile* profile,
                         std::unique_ptr<Backend> device) {
    try {
        return Run(std::move(options), events, profile, std::move(device)).run();
    } catch (const Interrupted&) {  // before the first update
        TrainResult result;
        result.interrupted = true;
        return result;
    }
}

}  // namespace ggq
