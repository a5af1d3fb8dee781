// Recomputation: the same bits as a run that keeps everything, in a smaller arena, and nothing made again for nothing.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "ggq/ops.h"
#include "tests/guarded_backend.h"
#include "tests/three_layers.h"

namespace ggq::test {

namespace {

const PlanOptions kFull{.recompute = Recompute::full};

const Step& step_of(const Graph& graph, const PlannedStep& s) { return graph.steps()[static_cast<size_t>(s.step)]; }

// Steps that run a second time, by op, in one layer.
std::map<std::string, int> recomputed_in(const Graph& graph, const Plan& plan, int layer) {
    std::map<std::string, int> counts;
    for (const PlannedStep& s : plan.steps)
        if (s.recomputed && step_of(graph, s).layer == layer) ++counts[step_of(graph, s).op->name];
    return counts;
}

}  // namespace

TEST_CASE("recomputed values are the first ones to the bit, and the arena is smaller") {
    GuardedBackend backend;
    ThreeLayers network(backend);
    network.store().allocate();
    network.write_inputs();
    const Plan kept = plan(*network.graph(), backend), full = plan(*network.graph(), backend, kFull);
    CHECK(network.run(full) == network.run(kept));
    CHECK(full.arena_bytes < kept.arena_bytes * 3 / 4);
    CHECK(kept.n_recomputed == 0);
    CHECK(full.n_recomputed > 0);
}

TEST_CASE("full keeps one tensor a layer") {
    const auto backend = make_cpu_backend(1);
    const ThreeLayers network(*backend);
    const Graph& graph = *network.graph();
    const std::vector<bool> kept = KeepLadder(graph, backend->costs()).kept(Recompute::full);
    std::map<int, int> n_kept;
    for (const Step& step : graph.steps())
        for (int32_t id : step.out)
            if (!step.backward && step.layer >= 0) n_kept[step.layer] += kept[static_cast<size_t>(id)];
    CHECK(n_kept == std::map<int, int>{{0, 1}, {1, 1}, {2, 1}});
}

TEST_CASE("each step is recomputed once, and a layer's last product and sum never") {
    const auto backend = make_cpu_backend(1);
    const ThreeLayers network(*backend);
    const Plan full = plan(*network.graph(), *backend, kFull);
    // qkv, out, gate and up, but not down; x + attention, but not + mlp.
    const std::map<std::string, int> expected = {{"rms_norm", 2}, {"matmul", 4}, {"rope", 1},  {"attention", 1},
                                                 {"dropout", 1},  {"add", 1},    {"swiglu", 1}};
    for (int layer = 0; layer < ThreeLayers::kLayers; ++layer)
        CHECK(recomputed_in(*network.graph(), full, layer) == expected);
    CHECK(recomputed_in(*network.graph(), full, -1).empty());
}

TEST_CASE("a value is made again no earlier than its layer's backward pass") {
    const auto backend = make_cpu_backend(1);
    const ThreeLayers network(*backend);
    const Graph& graph = *network.graph();
    const Plan full = plan(graph, *backend, kFull);
    int32_t lowest = ThreeLayers::kLayers;
    for (const PlannedStep& s : full.steps) {
        const Step& step = step_of(graph, s);
        if (s.recomputed) {
            CHECK(step.layer <= lowest);
            lowest = std::min(lowest, step.layer);
        }
    }
    CHECK(lowest == 0);
}

TEST_CASE("a layer's value that is an output is kept, not made again") {
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    Graph graph;
    const Tensor x = graph.bind(store.declare("x", Kind::input, {DType::f32, {4}, {}}));
    Tensor inside;
    {
        const LayerScope scope(graph, "layers.0", 0);
        inside = silu(x);
        graph.mark_output(inside);
    }
    CHECK(KeepLadder(graph, backend->costs()).kept(Recompute::full)[static_cast<size_t>(inside.id)]);
}

}  // namespace ggq::test
