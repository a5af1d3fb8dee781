#include "models/train/trainer.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "models/clock.h"
#include "models/generate/generator.h"
#include "models/lora.h"
#include "models/train/checkpoint.h"
#include "models/train/log.h"
#include "models/train/setup.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kSampleTokens = 64;  // of the answer generated before and after

// Mean loss over a validation set, and how fast it was.
struct Evaluation {
    double loss = 0, seconds = 0;
    int64_t n_samples = 0, n_batches = 0;
};

class Run {
public:
    Run(TrainOptions options, const TrainEvents& events, Profile* profile)
        : options_(std::move(options)), events_(events), profile_(profile) {}

    TrainResult run() {
        validate(options_);
        std::vector<std::string> notes = settle(options_);
        backend_ = make_backend(options_.base);
        for (std::string& n : settle_device(options_.base, *backend_)) notes.push_back(std::move(n));
        notes.push_back("device: " + backend_->description());
        base_.emplace(open_base(options_.base.model, !options_.from_scratch));
        weights_ = weight_choice(options_, base_->config);
        peak_lr(options_, base_->n_weights());  // refuses what does not fit
        if (!only_prints()) look_at_output();
        prepare_data();
        for (const std::string& n : notes) note(n);
        warn_of_base();
        build();
        if (only_prints()) return result_;
        check_memory();
        identify();
        output_.emplace(options_.output);
        load();
        train();
        return result_;
    }

private:
    void note(const std::string& line) const {
        if (events_.note) events_.note(line);
    }
    void warn(const std::string& line) const {
        if (events_.warning) events_.warning(line);
    }

    void warn_of_base() const {
        for (const std::string& line : base_->warnings) warn(line);
        if (base_->config.attention_dropout > 0)
            warn(
                fmt::format("config.json: attention_dropout {} is not applied; transformers would apply it in training",
                            base_->config.attention_dropout));
    }

    bool only_prints() const { return options_.plan || options_.print_graph; }
    bool asked_to_stop() const { return events_.stop && events_.stop(); }

    // What can be refused before the data is read.
    void look_at_output() {
        require(!options_.output.empty(), "--output: expected a folder for the result, got none");
        check_output_folder(options_.output, options_.overwrite || options_.resume.has_value());
        if (!options_.resume) return;
        checkpoint_ = options_.resume->empty() ? newest_checkpoint(options_.output) : fs::path(*options_.resume);
        state_ = read_trainer_state(checkpoint_);
    }

    void prepare_data() {
        data_ = load_training_data(options_, *base_);
        for (const std::string& line : describe_data(data_, options_)) note(line);
        for (const std::string& line : warn_of_data(data_)) warn(line);
        const auto n_shown = std::min(data_.train.train.size(), static_cast<size_t>(options_.show_samples));
        for (size_t i = 0; i < n_shown; ++i) note(show_sample(data_.train.train[i], base_->tokenizer));
        batches_.emplace(data_.train.train, batch_options(options_, true));
        if (!data_.validation_samples().empty())
            eval_batches_.emplace(data_.validation_samples(), batch_options(options_, false));
        total_steps_ = total_updates(options_, batches_->n_updates());
        schedule_ = learning_rates(options_, total_steps_, base_->n_weights());
        describe_updates();
    }

    void describe_updates() const {
        const auto updates = static_cast<double>(batches_->n_updates());
        const auto n_samples = static_cast<double>(data_.train.train.size());
        int64_t labels = 0;  // the data's report counts those of the validation samples too
        for (const Sample& sample : data_.train.train) labels += sample.n_label_tokens();
        note(fmt::format("an update: {:.1f} samples, {:.0f} label tokens; an epoch: {} updates; in all: {} updates",
                         n_samples / updates, static_cast<double>(labels) / updates, batches_->n_updates(),
                         total_steps_));
        if (total_steps_ < 20)
            warn(fmt::format(
                "only {} updates: too few to learn much; lower --batch-size or --grad-accum, or raise --epochs",
                total_steps_));
    }

    void build() {
        EngineOptions e;
        e.config = base_->config;
        e.weights = weights_;
        e.dtypes = base_->dtypes();
        e.optimizer = optimizer_choice(options_);
        e.recompute = options_.recompute;
        e.train_lengths = batches_->lengths();
        if (eval_batches_) e.eval_lengths = eval_batches_->lengths();
        e.seed = options_.seed;
        e.logits_bytes = logits_bytes_for(*backend_);
        warn_of_bare_layers(e);
        engine_.emplace(*backend_, std::move(e));
        build_generator();
        engine_->set_profile(profile_);
        const int64_t n_trained = engine_->parameters().n_trained();
        note(trainable_line(n_trained, base_->n_weights() + (options_.train == TrainKind::full ? 0 : n_trained)));
        const auto& show_plan = options_.plan ? events_.print : events_.note;
        for (const std::string& line : memory_lines(engine_->memory(), generator_->cache_bytes()))
            if (show_plan) show_plan(line);
        if (options_.print_graph && events_.print) events_.print(to_string(engine_->micro_graph()));
    }

    void warn_of_bare_layers(const EngineOptions& e) const {
        const std::vector<std::string> bare = quantized_without_adapter(e.config, e.weights);
        if (bare.empty()) return;
        std::string list = bare[0];
        for (size_t i = 1; i < bare.size() && i < 4; ++i) list += ", " + bare[i];
        warn(
            fmt::format("{} linear layers are quantized but have no adapter to make up for it ({}{}); "
                        "--quant-only-adapted leaves them as they are",
                        bare.size(), list, bare.size() > 4 ? ", ..." : ""));
    }

    // The first validation sample, or training sample, cut before its first token with loss.
    void build_generator() {
        const std::vector<Sample>& from =
            data_.validation_samples().empty() ? data_.train.train : data_.validation_samples();
        const Sample& sample = from.front();
        size_t n = 0;
        while (n < sample.ids.size() && !sample.has_loss[n]) ++n;
        sample_prompt_.assign(sample.ids.begin(),
                              sample.ids.begin() + static_cast<std::ptrdiff_t>(std::max<size_t>(n, 1)));
        sample_answer_.assign(sample.ids.begin() + static_cast<std::ptrdiff_t>(sample_prompt_.size()),
                              sample.ids.end());
        const auto wanted = static_cast<int64_t>(sample_prompt_.size()) + kSampleTokens;
        const GeneratorOptions g{std::min(wanted, base_->config.max_position_embeddings + 1), weights_.compute};
        generator_.emplace(*backend_, engine_->store(), engine_->llama(), g);
        engine_->reserve_arena(generator_->arena_bytes());
    }

    void check_memory() const {
        const int64_t needed = engine_->memory().total(), available = backend_->free_bytes();
        require(needed <= available,
                "memory: the plan needs {:.1f} MiB and {:.1f} MiB are free{}; lower --batch-size or --max-length{}{}",
                mebibytes(needed), mebibytes(available), memory_cap(options_.base),
                options_.recompute == Recompute::full ? "" : ", or use --recompute full",
                needed <= available ? "" : what_would_fit(available));
    }

    static double mebibytes(int64_t n_bytes) { return static_cast<double>(n_bytes) / (1 << 20); }

    // Plans of smaller batches, which take no memory. Rows that are not packed have lengths of their own.
    std::string what_would_fit(int64_t available) const {
        if (!options_.packing) return "";
        // The generator's cache and arena stay as they are.
        const int64_t beside = engine_->memory().total() - TrainEngine(*backend_, engine_->options()).memory().total();
        for (int64_t rows = options_.batch_size / 2; rows > 0; rows /= 2) {
            EngineOptions smaller = engine_->options();
            smaller.train_lengths = {rows * options_.max_length};
            if (!smaller.eval_lengths.empty()) smaller.eval_lengths = smaller.train_lengths;
            const int64_t needed = beside + TrainEngine(*backend_, std::move(smaller)).memory().total();
            if (needed <= available)
                return fmt::format(" (--batch-size {} would fit, with {:.1f} MiB)", rows, mebibytes(needed));
        }
        return " (not even --batch-size 1 would fit)";
    }

    void identify() {
        base_hash_ = base_->hash();
        record_ = base_record(options_, base_hash_);
        identity_ = {options_json(options_), data_.hash(), base_hash_};
        if (options_.resume)
            for (const std::string& change : check_identity(state_.identity, identity_, options_.accept_changes))
                warn("changed since the checkpoint: " + change);
        if (options_.resume) heed_device(state_.identity.options.value("device", ""), options_.base.device);
        else overwritten_ = checkpoints(options_.output);
        state_.identity = identity_;
        state_.total_steps = total_steps_;
    }

    void heed_device(const std::string& before, const std::string& now) const {
        const auto kind = [](const std::string& device) { return device.substr(0, device.find(':')); };
        if (kind(before) != kind(now) && before != "auto")
            warn(fmt::format("the run began on {} and goes on on {}, where sums round differently", before, now));
    }

    void load() {
        engine_->allocate([&] { fill_weights(engine_->store(), engine_->llama(), *base_, options_.seed); });
        generator_->bind(engine_->arena());
        generator_->prepare();
        if (options_.resume) restore(checkpoint_, *engine_, state_);
        else fill_new_adapter(engine_->store(), engine_->llama(), options_.seed);
        note(fmt::format("data {}, base {}, adapter seed {}", identity_.data_hash, base_hash_, options_.seed));
        if (options_.resume)
            note(fmt::format("resumed from {} after {} updates", checkpoint_.string(), state_.counters.updates));
    }

    int64_t step() const { return engine_->counters().updates; }

    double epoch_of(int64_t done) const {
        return static_cast<double>(done) / static_cast<double>(batches_->n_updates());
    }

    void train() {
        const nlohmann::ordered_json run_line = {
            {"options", identity_.options}, {"data_hash", identity_.data_hash}, {"base_hash", identity_.base_hash}};
        const fs::path log_path = fs::path(options_.output) / "log.jsonl";
        log_.emplace(options_.resume ? TrainLog::resume(log_path, run_line, step())
                                     : TrainLog::start(log_path, run_line));
        if (!options_.resume) show_generated(false);
        start_ = Clock::now();
        start_step_ = step();
        evaluate_if_due();  // an interrupt may have come before it
        result_.stopped_early = out_of_patience();
        try {
            while (step() < total_steps_ && !result_.interrupted && !result_.stopped_early) one_update();
        } catch (const Error& e) {
            fail("{}{}", e.what(), where_to_go_on());
        }
        finish();
    }

    std::string where_to_go_on() const {
        std::vector<fs::path> ours = checkpoints(options_.output);
        std::erase_if(ours, [&](const fs::path& p) { return std::ranges::count(overwritten_, p) > 0; });
        return ours.empty() ? "" : fmt::format("; {} is whole, and --resume goes on from it", ours.back().string());
    }

    void one_update() {
        const int64_t index = step(), epoch = index / batches_->n_updates();
        if (epoch != order_epoch_) {
            order_ = batches_->order(epoch);
            order_epoch_ = epoch;
        }
        const Update update = batches_->update(order_, index % batches_->n_updates());
        const double rate = schedule_.at(index);
        const UpdateResult r = engine_->train(update, rate);
        if (r.overflow) return note_overflow();
        if (index == start_step_) allocations_ = backend_->memory().allocations;
        note_update(update, r, rate);
        const int64_t done = step();
        evaluate_if_due();
        result_.stopped_early = out_of_patience();
        if (asked_to_stop()) result_.interrupted = true;
        if (options_.save_every > 0 && done % options_.save_every == 0 && done < total_steps_) save();
    }

    // The update is tried again with the smaller scale.
    void note_overflow() {
        note(fmt::format("gradients overflow f16: loss scale {:g} from here", engine_->counters().loss_scale));
        if (asked_to_stop()) result_.interrupted = true;
    }

    void note_update(const Update& update, const UpdateResult& r, double rate) {
        const int64_t done = step();
        if (done == start_step_ + 1) result_.first_loss = r.loss;
        result_.last_loss = r.loss;
        state_.n_tokens += update.n_tokens;
        tokens_here_ += update.n_tokens;
        samples_here_ += update.n_samples;
        loss_total_ += r.loss;
        state_.window_loss += r.loss;
        ++state_.window_updates;
        const double seconds = seconds_since(start_);
        const auto done_here = static_cast<double>(done - start_step_);
        if (done % options_.log_every == 0 || done == total_steps_) {
            log_->add(TrainEntry{state_.window_loss / static_cast<double>(state_.window_updates), r.grad_norm, rate,
                                 epoch_of(done), done, state_.n_tokens});
            state_.window_loss = 0;
            state_.window_updates = 0;
        }
        if (events_.step)
            events_.step({done, total_steps_, epoch_of(done), r.loss, r.grad_norm, rate,
                          static_cast<double>(tokens_here_) / seconds,
                          seconds / done_here * static_cast<double>(total_steps_ - done),
                          backend_->memory().peak_bytes});
    }

    // Nothing if the run was asked to stop meanwhile.
    std::optional<Evaluation> measure() {
        const Clock::time_point start = Clock::now();
        const std::vector<int64_t> order = eval_batches_->order(0);
        Evaluation e;
        double sum = 0;
        int64_t labels = 0;
        for (; e.n_batches < eval_batches_->n_micro_batches(); ++e.n_batches) {
            if (asked_to_stop()) return std::nullopt;
            const MicroBatch batch = eval_batches_->micro_batch(order, e.n_batches);
            sum += engine_->evaluate(batch);
            labels += batch.label_tokens;
            e.n_samples += batch.n_samples;
        }
        e.loss = sum / static_cast<double>(labels);
        e.seconds = seconds_since(start);
        return e;
    }

    void evaluate_if_due() {
        const bool due = eval_batches_ && options_.eval_every > 0 && step() > 0 && step() % options_.eval_every == 0;
        if (due && step() < total_steps_ && !logged_eval_loss()) evaluate();
    }

    void evaluate() {
        const std::optional<Evaluation> measured = measure();
        result_.interrupted = !measured;
        if (!measured) return;
        const Evaluation& e = *measured;
        result_.eval_loss = e.loss;
        log_->add(EvalEntry{e.loss, e.seconds, static_cast<double>(e.n_samples) / e.seconds,
                            static_cast<double>(e.n_batches) / e.seconds, epoch_of(step()), step()});
        if (events_.evaluation) events_.evaluation({step(), e.loss});
        const bool better = state_.best_step == 0 || e.loss < state_.best_loss;
        if (better) {
            state_.best_loss = e.loss;
            state_.best_step = step();
        }
        state_.evaluations_without_gain = better ? 0 : state_.evaluations_without_gain + 1;
    }

    bool out_of_patience() const { return options_.patience && state_.evaluations_without_gain >= *options_.patience; }

    // Of this update, if it was measured already: where patience ends, and where a run that had ended is resumed.
    std::optional<double> logged_eval_loss() const {
        for (const nlohmann::ordered_json& entry : log_->history())
            if (entry.contains("eval_loss") && entry.value("step", int64_t{0}) == step()) return entry["eval_loss"];
        return std::nullopt;
    }

    void save() {
        state_.counters = engine_->counters();
        state_.epoch = epoch_of(step());
        state_.log_history = log_->history();
        write_checkpoint(options_.output, *engine_, *base_, adapter_record(), state_);
        remove_overwritten();
        if (options_.keep_last) remove_old_checkpoints(options_.output, *options_.keep_last);
    }

    // The checkpoints of the run that this one replaces go when this one has its first.
    void remove_overwritten() {
        const std::vector<fs::path> gone = std::exchange(overwritten_, {});
        for (const fs::path& old : gone)
            if (checkpoint_number(old) != step()) fs::remove_all(old);
    }

    std::optional<BaseRecord> adapter_record() const {
        if (options_.train == TrainKind::full) return std::nullopt;
        return record_;
    }

    void finish() {
        result_.steps = step();
        result_.allocations_after_first_step = allocations_ > 0 ? backend_->memory().allocations - allocations_ : 0;
        const double seconds = std::max(seconds_since(start_), 1e-9);
        if (eval_batches_ && !result_.interrupted) {
            if (const auto known = logged_eval_loss()) result_.eval_loss = *known;
            else evaluate();
        }
        const auto done_here = static_cast<double>(step() - start_step_);
        const double flops = 6.0 * static_cast<double>(tokens_here_) * static_cast<double>(base_->n_weights());
        if (!result_.interrupted)
            log_->add(EndEntry{seconds, static_cast<double>(samples_here_) / seconds, done_here / seconds,
                               done_here > 0 ? loss_total_ / done_here : 0, flops, epoch_of(step()), step()});
        save();
        if (result_.interrupted) return;
        AtomicFolder folder(options_.output, IfFolderExists::merge);
        write_trained(folder.staging(), *engine_, *base_, adapter_record());
        copy_tokenizer_files(base_->folder, folder.staging());
        folder.commit();
        show_generated(true);
    }

    void show_generated(bool after) {
        if (!events_.sample) return;
        GenerationOptions g;
        g.sampler.temperature = 0;
        g.max_new_tokens = kSampleTokens;
        g.stop_tokens = base_->stop_tokens();
        g.vocabulary = base_->n_tokens();
        const Generation answer = generator_->generate(sample_prompt_, g);
        const Tokenizer& t = base_->tokenizer;
        events_.sample({after, t.decode(sample_prompt_), t.decode(sample_answer_), t.decode(answer.tokens)});
    }

    TrainOptions options_;
    const TrainEvents& events_;
    Profile* profile_;
    TrainResult result_;

    std::unique_ptr<Backend> backend_;
    std::optional<BaseModel> base_;
    WeightChoice weights_;
    TrainingData data_;
    std::optional<Batches> batches_, eval_batches_;
    int64_t total_steps_ = 0;
    LrSchedule schedule_;
    std::optional<TrainEngine> engine_;
    std::optional<Generator> generator_;
    std::vector<int32_t> sample_prompt_, sample_answer_;

    std::string base_hash_;
    BaseRecord record_;
    RunIdentity identity_;
    fs::path checkpoint_;
    std::optional<OutputFolder> output_;
    std::vector<fs::path> overwritten_;  // checkpoints that were in the output folder before
    TrainerState state_;
    std::optional<TrainLog> log_;

    std::vector<int64_t> order_;
    int64_t order_epoch_ = -1;
    Clock::time_point start_;
    int64_t start_step_ = 0, tokens_here_ = 0, samples_here_ = 0, allocations_ = 0;
    double loss_total_ = 0;
};

}  // namespace

TrainResult run_training(TrainOptions options, const TrainEvents& events, Profile* profile) {
    return Run(std::move(options), events, profile).run();
}

}  // namespace ggq
