// Paged programs on a device whose lanes lag: the same bits as unpaged ones, whatever order the lanes run in.
#include <doctest/doctest.h>

#include <algorithm>

#include "ggq/ops.h"
#include "ggq/program_set.h"
#include "tests/lagging_backend.h"
#include "tests/three_layers.h"

namespace ggq::test {

namespace {

using Bytes = std::vector<std::vector<std::byte>>;
using Order = LaggingBackend::Order;

Bytes unpaged(Recompute recompute) {
    LaggingBackend backend;
    ThreeLayers network(backend);
    network.store().allocate();
    network.write_inputs();
    return network.run(plan(*network.graph(), backend, {.recompute = recompute}));
}

int n_copies(const Plan& plan, Lane lane) {
    return static_cast<int>(std::ranges::count(plan.steps, lane, &PlannedStep::lane));
}

}  // namespace

TEST_CASE("paged weights and kept values on the host: the same bits in any order of the lanes") {
    for (const Recompute recompute : {Recompute::none, Recompute::full}) {
        const Bytes expected = unpaged(recompute);
        for (uint64_t seed = 0; seed < 16; ++seed) {
            CAPTURE(seed);
            const bool in_place = seed % 4 >= 2;
            LaggingBackend backend(seed == 0   ? Order::copies_first
                                   : seed == 1 ? Order::copies_last
                                               : Order::random,
                                   seed);
            backend.migrating = in_place;
            backend.costs_given.copy_in = backend.costs_given.copy_out = 1e12;
            ThreeLayers network(backend);
            network.page_weights();
            network.store().allocate();
            network.write_inputs();
            PlanOptions options{.recompute = recompute};
            options.offload = seed % 2 == 0;
            options.arena_budget = 1;  // as little as can be
            const Plan paged = plan(*network.graph(), backend, options);
            CHECK(n_copies(paged, Lane::in) > 0);
            CHECK((n_copies(paged, Lane::out) > 0) == (options.offload || in_place));
            CHECK((paged.migrated_bytes > 0) == in_place);
            CHECK(network.run(paged) == expected);
        }
    }
}

TEST_CASE("what the computing lane waits for pages is counted") {
    const auto traffic = [](Order order, bool paged) {
        LaggingBackend backend(order);
        ThreeLayers network(backend);
        if (paged) network.page_weights();
        network.store().allocate();
        network.write_inputs();
        const Plan p = plan(*network.graph(), backend, {.arena_budget = paged ? 1 : 0});
        network.run(p);
        CHECK(network.traffic().bytes_in == p.bytes_in);
        return network.traffic();
    };
    const PageTraffic late = traffic(Order::copies_last, true), early = traffic(Order::copies_first, true);
    CHECK(late.stalls > 0);
    CHECK(late.stalled_seconds >= static_cast<double>(late.stalls));
    CHECK(early.stalled_seconds < late.stalled_seconds);
    const PageTraffic none = traffic(Order::copies_last, false);
    CHECK(none.stalls == 0);
    CHECK(none.bytes_in + none.bytes_out == 0);
}

TEST_CASE("a larger budget needs fewer copies and is kept to") {
    LaggingBackend backend;
    backend.costs_given.copy_in = backend.costs_given.copy_out = 1e12;
    ThreeLayers network(backend);
    network.page_weights();
    const auto with = [&](int64_t budget) {
        return plan(*network.graph(), backend, {.arena_budget = budget, .offload = true});
    };
    const int64_t least = with(1).arena_bytes, most = plan(*network.graph(), backend).arena_bytes;
    REQUIRE(least < most);
    int64_t before = INT64_MAX;
    for (int64_t budget = least; budget <= most; budget += (most - least) / 7) {
        const Plan p = with(budget);
        CHECK(p.live_bytes <= budget);
        CHECK(static_cast<double>(p.arena_bytes) <= 1.01 * static_cast<double>(budget));  // blocks leave gaps
        CHECK(p.bytes_in + p.bytes_out <= before);
        before = p.bytes_in + p.bytes_out;
    }
    CHECK(n_copies(with(most), Lane::out) == 0);
}

TEST_CASE("paged state comes back to its home, run after run") {
    const auto run = [](Residence residence, uint64_t seed) {
        LaggingBackend backend(Order::random, seed);
        backend.migrating = seed % 2 == 1;
        ProgramSet set(backend);
        std::vector<Buffer*> states;
        for (int i = 0; i < 6; ++i)
            states.push_back(&set.store().declare("s" + std::to_string(i), Kind::state, {DType::f32, {1000}, {}}));
        for (Buffer* s : states) set.store().set_residence(*s, residence);
        auto graph = std::make_shared<Graph>();
        for (Buffer* s : states) accumulate(graph->bind(*s), full(*graph, s->type, 1));
        for (Buffer* s : states) accumulate(graph->bind(*s), silu(graph->bind(*s)));
        Program& program = set.add("steps", graph, {.arena_budget = residence == Residence::paged ? 1 : 0});
        CHECK(set.memory().state == (residence == Residence::paged ? 0 : 6 * 4096));
        CHECK(set.memory().host == (residence == Residence::paged ? 6 * 4096 : 0));
        set.allocate();
        for (int i = 0; i < 3; ++i) program.run();
        std::vector<std::vector<float>> values;
        for (Buffer* s : states) {
            values.emplace_back(1000);
            set.store().read(*s, values.back().data());
        }
        CHECK(backend.memory().bytes + backend.host_memory().bytes ==
              set.memory().total() + set.memory().host + set.memory().host_arena);
        return values;
    };
    const auto expected = run(Residence::device, 0);
    for (uint64_t seed = 0; seed < 10; ++seed) CHECK(run(Residence::paged, seed) == expected);
}

}  // namespace ggq::test
