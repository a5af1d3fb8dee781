#include "models/merge/compare_models.h"

namespace ggq {

namespace {

struct Loaded {
    Loaded(Backend& backend, const HeldModel& held, const Batches& batches, const StopAsked& stop)
        : set(backend), llama(held.model.declare(set.store(), held.form)), logits(set, *llama, batches.lengths()) {
        set.fit();
        set.require_fits("report on shorter samples (`max_length`), or leave the report away");
        set.allocate([&] { held.model.load(set.store(), *llama, stop); });
    }

    ProgramSet set;
    std::unique_ptr<Llama> llama;
    LogitsOf logits;
};

}  // namespace

Comparison compare_models(Backend& backend, const HeldModel& reference, const HeldModel& other, const Batches& batches,
                          const StopAsked& stop) {
    Loaded a(backend, reference, batches, stop), b(backend, other, batches, stop);
    Comparer comparer;
    const std::vector<int64_t> order = batches.order(0);
    for (int64_t i = 0; i < batches.n_micro_batches(); ++i) {
        end_if_asked(stop);
        const MicroBatch batch = batches.micro_batch(order, i);
        comparer.add(batch, a.logits(batch), b.logits(batch));
    }
    return comparer.result();
}

}  // namespace ggq
