// Weights that are restored in steps of their own: the same bits as from products that do it by themselves, whatever
// order the lanes run in, in no more memory.
#include <doctest/doctest.h>

#include <algorithm>

#include "ggq/restore_steps.h"
#include "ggq/transfer.h"
#include "tests/lagging_backend.h"
#include "tests/small_llama.h"

namespace ggq::test {

namespace {

constexpr int64_t kTokens = 96;
constexpr int kMicroBatches = 2;
using Order = LaggingBackend::Order;

struct Run {
    bool restoring = false;
    RecomputeChoice recompute = Recompute::full;
    bool paged = false, migrating = false;
    int64_t together = 1;
    Order order = Order::random;
    uint64_t seed = 0;
};

struct Result {
    std::vector<float> adapter;
    int64_t n_restores = 0, n_aside = 0, n_uses = 0, planned = 0, allocated = 0;
};

int64_t n_uses(const Plan& plan) {
    return std::ranges::count_if(plan.steps, [&](const PlannedStep& s) {
        return std::ranges::any_of(
            s.in, [&](int32_t t) { return plan.tensors[static_cast<size_t>(t)].restored.has_value(); });
    });
}

std::vector<float> adapter_of(const SmallTraining& training) {
    std::vector<float> adapter;
    for (const TrainedParameter& p : training.engine.parameters().parameters()) {
        const std::vector<float> values = read_f32(training.set.store(), *p.param);
        adapter.insert(adapter.end(), values.begin(), values.end());
    }
    return adapter;
}

Result result_of(const Run& run) {
    LaggingBackend backend(run.order, run.seed);
    backend.restoring = run.restoring;
    backend.migrating = run.migrating;
    backend.costs_given.copy_in = backend.costs_given.copy_out = 1e12;
    EngineOptions options = small_options(backend, kTokens);
    options.recompute = run.recompute;
    options.together = run.together;
    options.page_all = options.optimizer.pageable = run.paged;
    SmallTraining training(backend, options, 4);
    training.load();
    for (int i = 0; i < 2; ++i) training.engine.train(small_update_of(i, kMicroBatches, kTokens), 1e-2);
    Result r;
    const Plan& plan =
        (run.together > 1 ? *training.engine.together_program() : training.engine.micro_program()).plan();
    r.n_restores = plan.n_restores();
    r.n_aside = plan.n_steps(Lane::aside);
    r.n_uses = n_uses(plan);
    r.planned = training.set.memory().total();
    r.allocated = backend.memory().peak_bytes;
    r.adapter = adapter_of(training);
    return r;
}

}  // namespace

TEST_CASE("restored ahead and shared: the same bits in any order of the lanes") {
    const Run ways[] = {{},
                        {.recompute = Recompute::none},
                        {.together = kMicroBatches},
                        {.paged = true},
                        {.paged = true, .migrating = true},
                        {.recompute = Recompute::none, .paged = true},
                        {.paged = true, .together = kMicroBatches}};
    for (const Run& way : ways) {
        const Result expected = result_of(way);
        CHECK(expected.n_restores == 0);
        for (uint64_t seed = 0; seed < 6; ++seed) {
            CAPTURE(way.paged);
            CAPTURE(seed);
            Run run = way;
            run.restoring = true;
            run.seed = seed;
            run.order = seed == 0 ? Order::copies_first : seed == 1 ? Order::copies_last : Order::random;
            const Result r = result_of(run);
            CHECK(bool(r.adapter == expected.adapter));
            CHECK(r.n_restores <= r.n_uses);
            if (way.paged) CHECK(r.n_aside == 0);  // and there may be no room for any
            else CHECK(r.n_aside > 0);
            CHECK(r.allocated == r.planned);
        }
    }
}

TEST_CASE("what is read again soon is restored once, and all of it where there is room") {
    LaggingBackend backend;
    backend.restoring = true;
    const SmallTraining training(backend, small_options(backend, kTokens), 4);
    const Program& micro = training.engine.micro_program();
    const auto with_room = [&](int64_t room) {
        Plan p = plan(micro.graph(), backend, {.recompute = Recompute::full, .restores = false});
        CHECK(p.n_restores() == 0);
        const int64_t most = most_restores(micro.graph(), backend, p);
        CHECK(insert_restores(micro.graph(), backend, room, p));
        CHECK(n_uses(p) == most);
        return p.n_restores();
    };
    constexpr int64_t kWeights = 4 * 7;
    const int64_t alone = with_room(1), all = with_room(int64_t{1} << 40), planned = micro.plan().n_restores();
    // Forward, again but for the last product of each layer, and the gradient but for what only the first layer reads.
    CHECK(alone == 2 * kWeights - 4 + kWeights - 3);
    CHECK(all == kWeights);
    CHECK(planned < alone);
}

TEST_CASE("weights stay restored for the backward pass where nothing is recomputed and memory is left: the same bits") {
    struct Fitted {
        std::vector<float> adapter;
        int64_t n_restores = 0, arena = 0;
    };
    const auto fitted = [](Recompute recompute, int64_t free) {
        LaggingBackend backend(Order::random, 1, free);
        backend.restoring = true;
        EngineOptions options = small_options(backend, kTokens);
        options.recompute = recompute;
        SmallTraining training(backend, options, 4);
        training.set.fit();
        REQUIRE(training.set.fits());
        training.load();
        training.engine.train(small_update(kTokens), 1e-2);
        CHECK(backend.memory().peak_bytes <= free);
        const Plan& plan = training.engine.micro_program().plan();
        return Fitted{adapter_of(training), plan.n_restores(), training.set.memory().total()};
    };
    constexpr int64_t kWeights = 4 * 7, kPlenty = int64_t{1} << 40;
    const Fitted plenty = fitted(Recompute::none, kPlenty);
    CHECK(plenty.n_restores == kWeights);
    const Fitted recomputed = fitted(Recompute::full, kPlenty);
    CHECK(recomputed.n_restores > kWeights);
    CHECK(plenty.adapter == recomputed.adapter);
    const Fitted between = fitted(Recompute::none, plenty.arena - 1);
    CHECK(between.n_restores > kWeights);
    CHECK(between.arena < plenty.arena);
    CHECK(between.adapter == plenty.adapter);
}

TEST_CASE("a restored weight is there when it is read, and its codes when it is restored") {
    LaggingBackend backend;
    backend.restoring = true;
    EngineOptions options = small_options(backend, kTokens);
    options.page_all = true;
    const SmallTraining training(backend, options, 4);
    const Plan& p = training.engine.micro_program().plan();
    const auto alive = [&](int32_t tensor, size_t step) {
        const PlannedTensor& t = p.tensors[static_cast<size_t>(p.tensors[static_cast<size_t>(tensor)].storage)];
        return t.bytes == 0 || (t.first <= static_cast<int32_t>(step) && static_cast<int32_t>(step) <= t.last);
    };
    for (size_t i = 0; i < p.steps.size(); ++i) {
        CAPTURE(i);
        for (int32_t t : p.steps[i].in) CHECK(alive(t, i));
        for (int32_t t : p.steps[i].out) CHECK(alive(t, i));
        for (int32_t before : p.steps[i].after) CHECK(before < static_cast<int32_t>(i));
    }
}

TEST_CASE("a budget is kept to with restored weights as without, to the byte, and the bits are the same") {
    struct Fitted {
        std::vector<float> adapter;
        int64_t n_restores = 0, bytes_in = 0;
    };
    const auto fitted = [](bool restoring, int percent) {
        const auto options_for = [](const Backend& backend) {
            EngineOptions options = small_options(backend, kTokens);
            options.recompute = Recompute::automatic;
            options.optimizer.pageable = true;
            return options;
        };
        const auto total = [&] {
            LaggingBackend backend;
            return SmallTraining(backend, options_for(backend), 8).set.memory().total();
        }();
        LaggingBackend backend(Order::random, 1, total * percent / 100);
        backend.restoring = restoring;
        backend.costs_given.copy_in = backend.costs_given.copy_out = 1e11;
        SmallTraining training(backend, options_for(backend), 8);
        training.set.fit();
        REQUIRE(training.set.fits());
        training.load();
        training.engine.train(small_update(kTokens), 1e-2);
        CHECK(backend.memory().peak_bytes == training.set.memory().total());
        CHECK(backend.memory().peak_bytes <= total * percent / 100);
        const Plan& plan = training.engine.micro_program().plan();
        Fitted f{adapter_of(training), plan.n_restores(), plan.bytes_in};
        return f;
    };
    const Fitted expected = fitted(false, 100);
    bool paged_and_restored = false;
    for (const int percent : {100, 85, 70, 60, 50}) {
        CAPTURE(percent);
        const Fitted f = fitted(true, percent);
        CHECK(bool(f.adapter == expected.adapter));
        paged_and_restored |= f.n_restores > 0 && f.bytes_in > 0;
    }
    CHECK(paged_and_restored);
}

}  // namespace ggq::test
