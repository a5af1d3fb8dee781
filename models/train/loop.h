// The loop of a training run: updates in their order, the log, evaluations and patience, until all are done or it is
// asked to stop.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ggq/needed_flops.h"
#include "models/clock.h"
#include "models/train/checkpoint.h"
#include "models/train/job.h"
#include "models/train/log.h"

namespace ggq {

class TrainLoop {
public:
    // `state` is what a checkpoint had, or a new run's; `save` writes it when a checkpoint is due.
    TrainLoop(const Job& job, const RunData& data, TrainingModel& on_device, TrainLog log, TrainerState state,
              const TrainEvents& events, std::function<void(TrainerState&)> save);

    // Until the last update, an interrupt, or no more patience.
    void run();
    // The last evaluation, the log's last entry, the last checkpoint.
    TrainResult finish();

private:
    int64_t step() const { return on_device_.engine.counters().updates; }
    const TrainOptions& options() const { return job_.options; }
    int64_t updates_here() const { return step() - start_step_; }

    void one_update();
    void note_overflow();
    void note_update(const Update& update, const UpdateResult& result, double rate);
    void log_update(const UpdateResult& result, double rate);
    void report_update(const UpdateResult& result, double rate) const;
    void evaluate();
    void evaluate_if_due();
    bool out_of_patience() const;
    double needed_flops_of(const Update& update) const;
    double flops_a_second() const { return train_seconds_ > 0 ? flops_here_ / train_seconds_ : 0; }
    void tell_traffic() const;
    void tell_arithmetic() const;
    void log_end();
    void save();

    const Job& job_;
    const RunData& data_;
    TrainingModel& on_device_;
    TrainLog log_;
    TrainerState state_;
    const TrainEvents& events_;
    std::function<void(TrainerState&)> save_;
    TrainResult result_;

    std::vector<int64_t> order_;  // of epoch `order_epoch_`
    int64_t order_epoch_ = -1;
    // Of this process, which may have resumed a run.
    Clock::time_point start_;
    int64_t start_step_, tokens_here_ = 0, samples_here_ = 0;
    double loss_here_ = 0;
    double flops_here_ = 0, train_seconds_ = 0;
    NeededFlops needed_;
    double ceiling_;  // of the device; 0: not known
    std::optional<int64_t> allocations_after_first_;
    PageTraffic traffic_logged_;
};

}  // namespace ggq
