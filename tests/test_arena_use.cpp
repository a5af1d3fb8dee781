// What an arena holds at each step: counted against a graph small enough to count by hand, and against the plans of a
// network under every way to keep, recompute, page and offload.
#include "ggq/arena_use.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "ggq/backward.h"
#include "ggq/ops.h"
#include "tests/three_layers.h"

namespace ggq::test {

namespace {

// The most that is alive at a step, by the lifetimes themselves.
int64_t most_alive(const Plan& plan) {
    int64_t most = 0;
    for (int32_t step = 0; step < static_cast<int32_t>(plan.steps.size()); ++step) {
        const auto aligned = [](int64_t n) { return (n + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; };
        int64_t alive = aligned(plan.steps[static_cast<size_t>(step)].workspace_bytes);
        for (const PlannedTensor& t : plan.tensors)
            if (t.offset >= 0 && t.first <= step && step <= t.last) alive += aligned(t.bytes);
        most = std::max(most, alive);
    }
    return most;
}

int64_t most_kept(const std::vector<ArenaUse>& use) { return std::ranges::max(use, {}, &ArenaUse::kept).kept; }

}  // namespace

TEST_CASE("arena use: of a chain of four values two are kept for the backward pass") {
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    constexpr int64_t kElems = 256, kBytes = 4 * kElems;
    Buffer& w = store.declare("w", Kind::parameter, {DType::f32, {kElems}, {}});
    Graph graph;
    const Tensor x = graph.bind(w);
    const Tensor a = silu(x), b = scale(a, 2), c = silu(b);  // their gradients read x and b; a and c go at once
    backward(sum(c), std::vector<Tensor>{x},
             [&](std::span<const GradientPart> parts) { graph.mark_output(parts[0].gradient); });
    const Plan p = plan(graph, *backend);
    const std::vector<ArenaUse> use = arena_use(p, graph);
    const size_t turn = first_backward_step(p, graph);
    REQUIRE(turn == 4);  // silu, scale, silu, sum
    REQUIRE(use.size() == p.steps.size());
    CHECK(use[0].kept == 0);
    CHECK(use[0].temporaries == kBytes);
    CHECK(use[1].kept == kBytes);
    CHECK(use[1].temporaries == kBytes);
    CHECK(use[turn].kept == kBytes);
    CHECK(use.back().kept == 0);
    CHECK(use[fullest_step(use)].live() == p.live_bytes);
}

TEST_CASE("arena use: its largest sum is the plan's, and less is kept where more runs again") {
    const auto backend = make_cpu_backend(1);
    for (const bool paged : {false, true}) {
        CAPTURE(paged);
        ThreeLayers network(*backend);
        if (paged) network.page_weights();
        int64_t kept_before = INT64_MAX;
        for (const Recompute preset : {Recompute::none, Recompute::selective, Recompute::full}) {
            const Plan p = plan(*network.graph(), *backend, {.recompute = preset});
            const std::vector<ArenaUse> use = arena_use(p, *network.graph());
            CHECK(use[fullest_step(use)].live() == p.live_bytes);
            CHECK(p.live_bytes == most_alive(p));
            CHECK(std::ranges::any_of(use, [](const ArenaUse& u) { return u.pages > 0; }) == paged);
            CHECK(most_kept(use) > 0);
            CAPTURE(p.n_recomputed);
            if (p.n_recomputed > 0) CHECK(most_kept(use) < kept_before);
            kept_before = most_kept(use);
        }
    }
}

TEST_CASE("arena use: what waits on the host takes nothing meanwhile") {
    const auto backend = make_cpu_backend(1);
    ThreeLayers network(*backend);
    network.page_weights();
    const Plan here = plan(*network.graph(), *backend);
    const Plan away = plan(*network.graph(), *backend, {.arena_budget = 1, .offload = true});
    REQUIRE(away.host_bytes > 0);
    const std::vector<ArenaUse> use = arena_use(away, *network.graph());
    CHECK(use[fullest_step(use)].live() == away.live_bytes);
    CHECK(most_kept(use) < most_kept(arena_use(here, *network.graph())));
    int n_back = 0;
    for (size_t i = 0; i < use.size(); ++i) {
        if (away.steps[i].lane != Lane::in) continue;
        const PlannedTensor& t = away.tensors[static_cast<size_t>(away.steps[i].out[0])];
        if (network.graph()->values()[static_cast<size_t>(t.value)].kind != Kind::temporary) continue;
        ++n_back;
        CHECK(use[i].kept >= t.bytes);
    }
    CHECK(n_back > 0);
}

}  // namespace ggq::test
