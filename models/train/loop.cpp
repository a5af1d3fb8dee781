#include "models/train/loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "models/figures.h"
#include "models/train/ceiling.h"

namespace ggq {

TrainLoop::TrainLoop(const Job& job, const RunData& data, TrainingModel& on_device, TrainLog log, TrainerState state,
                     const TrainEvents& events, std::function<void(TrainerState&)> save)
    : job_(job),
      data_(data),
      on_device_(on_device),
      log_(std::move(log)),
      state_(std::move(state)),
      events_(events),
      save_(std::move(save)),
      start_(Clock::now()),
      start_step_(step()),
      needed_(needed_flops(on_device.engine.micro_graph(), on_device.engine.options().lengths.front())),
      ceiling_(measured_ceiling(on_device.set, job.weights.compute())) {}

void TrainLoop::run() {
    evaluate_if_due();  // an interrupt may have come before it
    result_.stopped_early = out_of_patience();
    result_.interrupted |= events_.asked_to_stop();
    while (step() < data_.total_steps && !result_.interrupted && !result_.stopped_early) one_update();
}

void TrainLoop::one_update() {
    const int64_t index = step(), epoch = index / data_.batches.n_updates();
    if (epoch != order_epoch_) {
        order_ = data_.batches.order(epoch);
        order_epoch_ = epoch;
    }
    const Update update = data_.batches.update(order_, index % data_.batches.n_updates());
    const double rate = data_.schedule.at(index);
    const auto begin = Clock::now();
    const UpdateResult r = on_device_.engine.train(update, rate);
    train_seconds_ += seconds_since(begin);
    flops_here_ += needed_flops_of(update);
    if (r.overflow) return note_overflow();
    if (!allocations_after_first_) allocations_after_first_ = job_.backend->memory().allocations;
    note_update(update, r, rate);
    evaluate_if_due();
    result_.stopped_early = out_of_patience();
    if (events_.asked_to_stop()) result_.interrupted = true;
    if (options().save_every > 0 && step() % options().save_every == 0 && step() < data_.total_steps) save();
}

// The update is tried again with the smaller scale.
void TrainLoop::note_overflow() {
    events_.tell(
        fmt::format("gradients overflow f16: loss scale {:g} from here", on_device_.engine.counters().loss_scale));
    if (events_.asked_to_stop()) result_.interrupted = true;
}

void TrainLoop::note_update(const Update& update, const UpdateResult& r, double rate) {
    if (updates_here() == 1) result_.first_loss = r.loss;
    result_.last_loss = r.loss;
    state_.n_tokens += update.n_tokens;
    tokens_here_ += update.n_tokens;
    samples_here_ += update.n_samples;
    loss_here_ += r.loss;
    state_.window_loss += r.loss;
    ++state_.window_updates;
    if (step() % options().log_every == 0 || step() == data_.total_steps) log_update(r, rate);
    report_update(r, rate);
}

void TrainLoop::log_update(const UpdateResult& r, double rate) {
    const double loss = state_.window_loss / static_cast<double>(state_.window_updates);
    const PageTraffic traffic = on_device_.engine.traffic();
    log_.add(TrainEntry{.loss = loss,
                        .grad_norm = r.grad_norm,
                        .learning_rate = rate,
                        .epoch = data_.epoch_of(step()),
                        .step = step(),
                        .num_tokens = state_.n_tokens,
                        .traffic = traffic - traffic_logged_});
    traffic_logged_ = traffic;
    state_.window_loss = 0;
    state_.window_updates = 0;
}

void TrainLoop::report_update(const UpdateResult& r, double rate) const {
    if (!events_.step) return;
    const double seconds = seconds_since(start_);
    const double seconds_an_update = seconds / static_cast<double>(updates_here());
    events_.step({.step = step(),
                  .total_steps = data_.total_steps,
                  .epoch = data_.epoch_of(step()),
                  .loss = r.loss,
                  .grad_norm = r.grad_norm,
                  .learning_rate = rate,
                  .tokens_per_second = static_cast<double>(tokens_here_) / seconds,
                  .seconds_left = seconds_an_update * static_cast<double>(data_.total_steps - step()),
                  .share_of_ceiling = ceiling_ > 0 ? flops_a_second() / ceiling_ : 0,
                  .peak_bytes = job_.backend->memory().peak_bytes});
}

void TrainLoop::evaluate_if_due() {
    const bool due = data_.eval_batches && options().eval_every > 0 && step() > 0 && step() % options().eval_every == 0;
    if (due && step() < data_.total_steps && !log_.eval_loss_of(step())) evaluate();
}

void TrainLoop::evaluate() {
    const auto measured = on_device_.evaluator->evaluate(*data_.eval_batches, events_.stop);
    result_.interrupted = !measured;
    if (!measured) return;
    const Evaluation& e = *measured;
    result_.eval_loss = e.loss;
    log_.add(EvalEntry{.loss = e.loss,
                       .seconds = e.seconds,
                       .samples_per_second = static_cast<double>(e.n_samples) / e.seconds,
                       .steps_per_second = static_cast<double>(e.n_batches) / e.seconds,
                       .epoch = data_.epoch_of(step()),
                       .step = step()});
    if (events_.evaluation) events_.evaluation({step(), e.loss});
    const bool better = state_.best_step == 0 || std::isnan(state_.best_loss) || e.loss < state_.best_loss;
    if (better) {
        state_.best_loss = e.loss;
        state_.best_step = step();
    }
    state_.evaluations_without_gain = better ? 0 : state_.evaluations_without_gain + 1;
}

bool TrainLoop::out_of_patience() const {
    return options().patience && state_.evaluations_without_gain >= *options().patience;
}

void TrainLoop::save() {
    state_.counters = on_device_.engine.counters();
    state_.epoch = data_.epoch_of(step());
    state_.log_history = log_.history();
    save_(state_);
}

void TrainLoop::log_end() {
    const double seconds = std::max(seconds_since(start_), 1e-9);
    const auto updates = static_cast<double>(updates_here());
    log_.add(
        EndEntry{.seconds = seconds,
                 .samples_per_second = static_cast<double>(samples_here_) / seconds,
                 .steps_per_second = updates / seconds,
                 .loss = updates > 0 ? loss_here_ / updates : 0,
                 .total_flos = 6.0 * static_cast<double>(tokens_here_) * static_cast<double>(job_.model.n_weights()),
                 .epoch = data_.epoch_of(step()),
                 .step = step(),
                 .flops = flops_a_second(),
                 .ceiling = ceiling_});
}

// Of the documents: what fills a micro-batch up, and what is computed twice, is not needed.
double TrainLoop::needed_flops_of(const Update& update) const {
    int64_t keys = 0;
    for (const MicroBatch& batch : update.micro_batches) {
        for (size_t t = 0; t < batch.spans.size(); t += 2) keys += batch.spans[t + 1] - batch.spans[t];
        keys -= batch.length() - batch.n_tokens;  // each of which sees itself
    }
    return needed_.a_token * static_cast<double>(update.n_tokens) + needed_.a_key * static_cast<double>(keys) +
           needed_.a_label * static_cast<double>(update.label_tokens);
}

static std::string flops_text(double a_second) {
    return a_second < 1e12 ? fmt::format("{:.3g} GFLOP/s", a_second * 1e-9)
                           : fmt::format("{:.3g} TFLOP/s", a_second * 1e-12);
}

void TrainLoop::tell_arithmetic() const {
    if (ceiling_ <= 0 || flops_here_ <= 0) return;
    events_.tell(fmt::format("arithmetic that the documents needed: {}, {:.0f} % of a large product's {}",
                             flops_text(flops_a_second()), 100 * flops_a_second() / ceiling_, flops_text(ceiling_)));
}

void TrainLoop::tell_traffic() const {
    const PageTraffic t = on_device_.engine.traffic();
    if (t.bytes_in + t.bytes_out == 0) return;
    events_.tell(fmt::format("pages: {:.0f} MiB in, {:.0f} MiB out; waiting for them took {:.1f} of {:.1f} s",
                             mebibytes(t.bytes_in), mebibytes(t.bytes_out), t.stalled_seconds, seconds_since(start_)));
}

TrainResult TrainLoop::finish() {
    tell_traffic();
    tell_arithmetic();
    result_.steps = step();
    if (allocations_after_first_)
        result_.allocations_after_first_step = job_.backend->memory().allocations - *allocations_after_first_;
    if (data_.eval_batches && !result_.interrupted) {
        if (const auto known = log_.eval_loss_of(step())) result_.eval_loss = *known;
        else evaluate();
    }
    if (!result_.interrupted) log_end();
    result_.saved = !result_.interrupted || updates_here() > 0;  // else the run ends where it began
    if (result_.saved) save();
    return result_;
}

}  // namespace ggq
