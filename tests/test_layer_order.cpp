// Layer by layer over all micro-batches of an update: the same bits as one micro-batch after the other.
#include "ggq/layer_order.h"

#include <doctest/doctest.h>

#include "ggq/transfer.h"
#include "tests/lagging_backend.h"
#include "tests/small_llama.h"

namespace ggq::test {

namespace {

constexpr int64_t kTokens = 40;
constexpr int kMicroBatches = 3;

struct Trained {
    std::vector<double> losses;
    std::vector<float> adapter;
};

// What all takes, less half of what can be paged.
int64_t too_few_bytes(const std::function<void(EngineOptions&)>& change) {
    LaggingBackend backend;
    EngineOptions options = small_options(backend, kTokens);
    change(options);
    const SmallTraining training(backend, options, 6);
    int64_t pageable = 0;
    for (const Buffer* b : training.set.store().declared()) pageable += b->pageable ? b->bytes() : 0;
    return training.set.memory().total() - pageable / 2;
}

// Two whole updates, one of fewer micro-batches, and a whole one.
Trained train(const std::function<void(EngineOptions&)>& change, bool paged) {
    const int64_t limit = paged ? too_few_bytes(change) : INT64_MAX;
    LaggingBackend backend(LaggingBackend::Order::random, 5, limit);
    backend.costs_given.copy_in = backend.costs_given.copy_out = 1e12;
    EngineOptions options = small_options(backend, kTokens);
    change(options);
    SmallTraining training(backend, options, 6);
    if (paged) training.set.fit();
    REQUIRE(training.set.fits());
    // Where it may, recomputing more comes first.
    if (options.recompute.preset != Recompute::automatic) CHECK((training.set.memory().host_total() > 0) == paged);
    training.load();
    Trained result;
    int number = 0;
    for (int n : {kMicroBatches, kMicroBatches, kMicroBatches - 1, kMicroBatches})
        result.losses.push_back(training.engine.train(small_update_of(number++, n, kTokens), 1e-2).loss);
    for (const TrainedParameter& p : training.engine.parameters().parameters()) {
        const std::vector<float> values = read_f32(training.set.store(), *p.param);
        result.adapter.insert(result.adapter.end(), values.begin(), values.end());
    }
    return result;
}

}  // namespace

TEST_CASE("layer by layer: the same bits as one after the other, paged or not") {
    const Trained plain = train([](EngineOptions&) {}, false);
    for (const Recompute recompute : {Recompute::none, Recompute::full, Recompute::automatic})
        for (bool paged : {false, true}) {
            CAPTURE(paged);
            const Trained layered = train(
                [&](EngineOptions& o) {
                    o.together = kMicroBatches;
                    o.recompute = recompute;
                },
                paged);
            CHECK(bool(layered.losses == plain.losses));
            CHECK(bool(layered.adapter == plain.adapter));
        }
}

TEST_CASE("layer by layer: weights are read once for all micro-batches") {
    LaggingBackend backend;
    backend.costs_given.copy_in = backend.costs_given.copy_out = 1e12;
    EngineOptions options = small_options(backend, kTokens);
    options.together = kMicroBatches;
    SmallTraining training(backend, options, 6);
    for (Buffer* b : training.set.store().declared())
        if (b->pageable) training.set.store().set_residence(*b, Residence::paged);
    const auto bytes_in = [&](const Program& program, bool layered) {
        PlanOptions o{.recompute = Recompute::full, .arena_budget = 1, .layer_by_layer = layered};
        o.arena_budget = plan(program.graph(), backend, o).arena_bytes * 11 / 10;
        return plan(program.graph(), backend, o).bytes_in;
    };
    const Program& micro = training.engine.micro_program();
    const int64_t one = bytes_in(micro, false), all = bytes_in(*training.engine.together_program(), true);
    CHECK(all < 2 * one);
}

}  // namespace ggq::test
