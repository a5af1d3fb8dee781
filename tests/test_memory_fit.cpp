// Memory by budget: what to keep against every choice there is, what is planned against what is taken, and the same
// bits whatever was chosen.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "ggq/ops.h"
#include "ggq/transfer.h"
#include "tests/lagging_backend.h"
#include "tests/small_llama.h"
#include "tests/three_layers.h"

namespace ggq::test {

namespace {

constexpr int64_t kTokens = 48;

// What layers keep and run again under a set of kept steps, counted on the schedule itself.
struct Burden {
    double seconds = 0;
    int64_t bytes = 0;
};

Burden burden(const Graph& graph, const std::vector<bool>& kept, const Costs& costs) {
    const Schedule s = schedule(graph, kept);
    std::vector<TensorType> types;
    Burden b;
    std::vector<bool> held(graph.values().size());
    for (const ScheduledStep& step : s.steps) {
        const Step& of = graph.steps()[static_cast<size_t>(step.step)];
        if (step.recomputed && !of.op->view) b.seconds += seconds_of(graph, of, costs, 0, types);
        if (!of.backward && !step.recomputed) continue;
        for (int32_t t : step.in) {
            if (t >= static_cast<int32_t>(graph.values().size())) continue;  // made again
            const int32_t by = graph.values()[static_cast<size_t>(t)].step;
            if (by < 0 || graph.steps()[static_cast<size_t>(by)].backward) continue;
            const int32_t storage = graph.values()[static_cast<size_t>(t)].storage;
            const Value& v = graph.values()[static_cast<size_t>(storage)];
            if (v.kind != Kind::temporary || v.step < 0) continue;
            const Step& maker = graph.steps()[static_cast<size_t>(v.step)];
            if (maker.backward || maker.layer < 0 || held[static_cast<size_t>(storage)]) continue;
            held[static_cast<size_t>(storage)] = true;
            b.bytes += v.type.bytes();
        }
    }
    return b;
}

}  // namespace

TEST_CASE("the ladder: what it says of a rung is what the schedule does") {
    const auto backend = make_cpu_backend(1);
    const ThreeLayers network(*backend);
    const Costs costs = backend->costs();
    const KeepLadder ladder(*network.graph(), costs);
    REQUIRE(ladder.n_rungs() > 3);
    int64_t least = 0;
    for (int i = 0; i < ladder.n_rungs(); ++i) {
        CAPTURE(i);
        const std::vector<int> rungs(static_cast<size_t>(ladder.n_layers()), i);
        const Burden b = burden(*network.graph(), ladder.kept(rungs), costs);
        CHECK(b.seconds == doctest::Approx(ladder.rung(i).seconds));
        if (i == 0) least = b.bytes;
        CHECK(b.bytes - least == ladder.rung(i).bytes - ladder.rung(0).bytes);
        if (i > 0) CHECK(ladder.rung(i).seconds < ladder.rung(i - 1).seconds);
    }
    CHECK(ladder.rung(ladder.n_rungs() - 1).seconds == 0);
}

TEST_CASE("the ladder against every choice: nothing that keeps as little saves much more") {
    const auto backend = make_cpu_backend(1);
    const ThreeLayers network(*backend);
    const Graph& graph = *network.graph();
    const Costs costs = backend->costs();
    const KeepLadder ladder(graph, costs);
    // The steps of a layer that can be kept, alike in all layers.
    std::vector<std::vector<int32_t>> classes;
    std::vector<int> next(ThreeLayers::kLayers, 0);
    for (const Step& step : graph.steps()) {
        if (step.backward || step.layer < 0) continue;
        const auto number = static_cast<size_t>(next[static_cast<size_t>(step.layer)]++);
        if (step.op->view) continue;
        classes.resize(std::max(classes.size(), number + 1));
        classes[number].insert(classes[number].end(), step.out.begin(), step.out.end());
    }
    std::erase_if(classes, [](const auto& c) { return c.empty(); });
    REQUIRE(classes.size() < 18);
    std::vector<Burden> every;
    const std::vector<bool> base = ladder.kept(Recompute::full);
    for (uint32_t chosen = 0; chosen < (1u << classes.size()); ++chosen) {
        std::vector<bool> kept = base;
        for (size_t c = 0; c < classes.size(); ++c)
            if (chosen >> c & 1)
                for (int32_t id : classes[c]) kept[static_cast<size_t>(id)] = true;
        every.push_back(burden(graph, kept, costs));
    }
    const double all = ladder.rung(0).seconds;
    for (int i = 0; i < ladder.n_rungs(); ++i) {
        CAPTURE(i);
        double best = all;
        for (const Burden& b : every)
            if (b.bytes <= ladder.rung(i).bytes) best = std::min(best, b.seconds);
        // A greedy choice; the measured distance from the best of all is its bound.
        CHECK(ladder.rung(i).seconds <= best + 0.1 * all);
    }
}

TEST_CASE("a fitted set takes what it planned, to the byte, and no more later") {
    int64_t before = INT64_MAX;
    for (const int percent : {100, 85, 70, 60, 50, 45}) {
        CAPTURE(percent);
        const auto total = [] {
            LaggingBackend backend;
            return SmallTraining(backend, small_options(backend, kTokens), 8).set.memory().total();
        }();
        LaggingBackend backend(LaggingBackend::Order::random, 1, total * percent / 100);
        backend.costs_given.copy_in = backend.costs_given.copy_out = 1e11;
        EngineOptions options = small_options(backend, kTokens);
        options.recompute = Recompute::automatic;
        options.optimizer.pageable = true;
        SmallTraining training(backend, options, 8);
        training.set.fit();
        const MemoryUse use = training.set.memory();
        if (!training.set.fits()) continue;
        CHECK(use.total() <= total * percent / 100);
        CHECK(use.total() <= before);
        before = use.total();
        training.load();
        CHECK(backend.memory().bytes == use.total());
        CHECK(backend.host_memory().bytes == use.host_total());
        training.engine.train(small_update(kTokens), 1e-2);
        const int64_t n = backend.memory().allocations + backend.host_memory().allocations;
        for (int i = 1; i < 4; ++i) training.engine.train(small_update(kTokens, i), 1e-2);
        CHECK(backend.memory().allocations + backend.host_memory().allocations == n);
        CHECK(backend.memory().peak_bytes == use.total());
    }
    CHECK(before < INT64_MAX);
}

TEST_CASE("a micro-batch eight times as long in the middle of a run has its own program within the budget") {
    const auto planned = [](Backend& backend) {
        EngineOptions options = small_options(backend, kTokens);
        options.lengths = {kTokens, 8 * kTokens};
        options.recompute = Recompute::automatic;
        return std::make_unique<SmallTraining>(backend, options, 6);
    };
    LaggingBackend free;
    const int64_t all = planned(free)->set.memory().total();
    LaggingBackend backend(LaggingBackend::Order::random, 2, all * 6 / 10);
    backend.costs_given.copy_in = backend.costs_given.copy_out = 1e11;
    const auto training = planned(backend);
    training->set.fit();
    REQUIRE(training->set.fits());
    training->load();
    for (int64_t n : {kTokens, kTokens, 8 * kTokens, kTokens})
        CHECK(std::isfinite(training->engine.train(small_update(n), 1e-2).loss));
    CHECK(backend.memory().peak_bytes <= all * 6 / 10);
    CHECK(backend.memory().peak_bytes == training->set.memory().total());
    CHECK(training->engine.micro_program().plan().n_recomputed == 0);  // the short one has room
}

TEST_CASE("fifty updates: the same bits under every preset, budget and form of the pager") {
    const auto adapter = [](const RecomputeChoice& recompute, int percent, bool in_place) {
        const auto total = [] {
            LaggingBackend backend;
            return SmallTraining(backend, small_options(backend, kTokens), 4).set.memory().total();
        }();
        LaggingBackend backend(LaggingBackend::Order::random, 3, percent > 0 ? total * percent / 100 : INT64_MAX);
        backend.costs_given.copy_in = backend.costs_given.copy_out = 1e11;
        backend.migrating = in_place;
        EngineOptions options = small_options(backend, kTokens);
        options.recompute = recompute;
        options.optimizer.pageable = !in_place;  // all of it is one page here, which no arena then has room for
        SmallTraining training(backend, options, 4);
        training.set.fit();
        REQUIRE(training.set.fits());
        training.load();
        for (int i = 0; i < 50; ++i) training.engine.train(small_update(kTokens, i), 1e-2);
        std::vector<float> all;
        for (const TrainedParameter& p : training.engine.parameters().parameters()) {
            const std::vector<float> values = read_f32(training.set.store(), *p.param);
            all.insert(all.end(), values.begin(), values.end());
        }
        return all;
    };
    const std::vector<float> expected = adapter(Recompute::none, 0, false);
    CHECK(bool(adapter(Recompute::selective, 0, false) == expected));
    CHECK(bool(adapter({Recompute::partial, 2}, 0, false) == expected));
    CHECK(bool(adapter(Recompute::full, 0, false) == expected));
    for (int percent : {95, 80, 70}) {
        CAPTURE(percent);
        CHECK(bool(adapter(Recompute::automatic, percent, false) == expected));
    }
    CHECK(bool(adapter(Recompute::automatic, 92, true) == expected));
}

}  // namespace ggq::test
