// The plan: nothing alive is overlapped, little is wasted, and the same graph gives the same plan.
#include "ggq/plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "ggq/ops.h"
#include "tests/three_layers.h"

namespace ggq::test {

namespace {

struct Block {
    int64_t begin, end;
    int32_t first, last;
};

bool collide(const Block& a, const Block& b) {
    const bool together = a.first <= b.last && b.first <= a.last;
    return together && a.begin < b.end && b.begin < a.end;
}

void check_apart(const std::vector<Block>& blocks) {
    int n_collisions = 0;
    for (size_t i = 0; i < blocks.size(); ++i)
        for (size_t j = i + 1; j < blocks.size(); ++j) n_collisions += collide(blocks[i], blocks[j]);
    CHECK(n_collisions == 0);
}

std::vector<Lifetime> random_lifetimes(uint64_t seed) {
    std::mt19937_64 engine(seed);
    std::uniform_int_distribution<int32_t> count(1, 80), step(0, 60), length(0, 20);
    std::uniform_int_distribution<int64_t> bytes(1, 20000);
    std::vector<Lifetime> blocks(static_cast<size_t>(count(engine)));
    for (Lifetime& b : blocks) {
        b.bytes = bytes(engine);
        b.first = step(engine);
        b.last = b.first + length(engine);
    }
    return blocks;
}

int64_t aligned(int64_t bytes) { return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

// The most bytes alive at one step, counted the slow way.
int64_t live_bytes(const std::vector<Lifetime>& blocks) {
    int64_t most = 0;
    for (int32_t step = 0; step < 100; ++step) {
        int64_t alive = 0;
        for (const Lifetime& b : blocks) alive += b.first <= step && step <= b.last ? aligned(b.bytes) : 0;
        most = std::max(most, alive);
    }
    return most;
}

// Everything that the plan puts into the arena, workspace included.
std::vector<Block> arena_blocks(const Plan& plan) {
    std::vector<Block> blocks;
    for (const PlannedTensor& t : plan.tensors)
        if (t.offset >= 0) blocks.push_back({t.offset, t.offset + t.bytes, t.first, t.last});
    for (size_t i = 0; i < plan.steps.size(); ++i) {
        const PlannedStep& s = plan.steps[i];
        const auto at = static_cast<int32_t>(i);
        if (s.workspace_bytes > 0)
            blocks.push_back({s.workspace_offset, s.workspace_offset + s.workspace_bytes, at, at});
    }
    return blocks;
}

bool same(const PlannedTensor& a, const PlannedTensor& b) {
    return a.value == b.value && a.storage == b.storage && a.offset == b.offset && a.bytes == b.bytes &&
           a.first == b.first && a.last == b.last;
}

bool same(const PlannedStep& a, const PlannedStep& b) {
    return a.step == b.step && a.in == b.in && a.out == b.out && a.workspace_offset == b.workspace_offset &&
           a.workspace_bytes == b.workspace_bytes && a.recomputed == b.recomputed;
}

}  // namespace

TEST_CASE("random lifetimes: what is alive together never overlaps, and little is wasted") {
    double bytes_placed = 0, bytes_live = 0;
    for (uint64_t seed = 0; seed < 300; ++seed) {
        CAPTURE(seed);
        const std::vector<Lifetime> lifetimes = random_lifetimes(seed);
        const std::vector<int64_t> offsets = place(lifetimes);
        std::vector<Block> blocks;
        int64_t end = 0;
        for (size_t i = 0; i < lifetimes.size(); ++i) {
            CHECK(offsets[i] % kArenaAlignment == 0);
            const int64_t stop = offsets[i] + aligned(lifetimes[i].bytes);
            blocks.push_back({offsets[i], stop, lifetimes[i].first, lifetimes[i].last});
            end = std::max(end, stop);
        }
        check_apart(blocks);
        const int64_t live = live_bytes(lifetimes);
        CHECK(end >= live);
        CHECK(end <= 2 * live);
        bytes_placed += static_cast<double>(end);
        bytes_live += static_cast<double>(live);
    }
    CHECK(bytes_placed <= 1.15 * bytes_live);
}

TEST_CASE("a network's tensors and workspaces: no two alive overlap, all lie within the arena") {
    const auto backend = make_cpu_backend(2);
    const ThreeLayers network(*backend);
    for (Recompute recompute : {Recompute::none, Recompute::full}) {
        const Plan p = plan(*network.graph(), *backend, {recompute});
        const std::vector<Block> blocks = arena_blocks(p);
        check_apart(blocks);
        for (const Block& b : blocks) CHECK((b.begin % kArenaAlignment == 0 && b.end <= p.arena_bytes));
        CHECK(p.live_bytes <= p.arena_bytes);
        CHECK(static_cast<double>(p.arena_bytes) <= 1.2 * static_cast<double>(p.live_bytes));
    }
}

TEST_CASE("every tensor is alive from the step that makes it to the last that reads it") {
    const auto backend = make_cpu_backend(1);
    const ThreeLayers network(*backend);
    const Plan p = plan(*network.graph(), *backend, {Recompute::full});
    const auto owner = [&](int32_t t) {
        return p.tensors[static_cast<size_t>(p.tensors[static_cast<size_t>(t)].storage)];
    };
    for (size_t i = 0; i < p.steps.size(); ++i) {
        const auto at = static_cast<int32_t>(i);
        for (int32_t t : p.steps[i].out) CHECK((owner(t).first <= at && at <= owner(t).last));
        for (int32_t t : p.steps[i].in) {
            const bool temporary =
                network.graph()->values()[static_cast<size_t>(owner(t).value)].kind == Kind::temporary;
            if (temporary) CHECK((owner(t).first < at && at <= owner(t).last));
        }
    }
}

TEST_CASE("the same graph gives the same plan") {
    const auto backend = make_cpu_backend(1);
    const ThreeLayers network(*backend), again(*backend);
    for (Recompute recompute : {Recompute::none, Recompute::full}) {
        const Plan a = plan(*network.graph(), *backend, {recompute}), b = plan(*again.graph(), *backend, {recompute});
        CHECK(a.arena_bytes == b.arena_bytes);
        CHECK(std::ranges::equal(a.tensors, b.tensors, [](const auto& x, const auto& y) { return same(x, y); }));
        CHECK(std::ranges::equal(a.steps, b.steps, [](const auto& x, const auto& y) { return same(x, y); }));
    }
}

TEST_CASE("a view has no memory of its own and keeps its base alive") {
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    Graph graph;
    const Tensor x = graph.bind(store.declare("x", Kind::input, {DType::f32, {4, 6}, {}}));
    const Tensor base = silu(x), part = slice(transpose(base, 0, 1), 0, 1, 3);
    const Tensor between = silu(silu(x));
    const Tensor end = add(contiguous(part), contiguous(slice(reshape(between, {6, 4}), 0, 0, 2)));
    graph.mark_output(end);
    const Plan p = plan(graph, *backend);
    const PlannedTensor &b = p.tensors[static_cast<size_t>(base.id)], &v = p.tensors[static_cast<size_t>(part.id)];
    CHECK(v.storage == base.id);
    CHECK(v.offset == -1);
    CHECK(b.last == 3);  // the copy of `part`
    for (const PlannedStep& s : p.steps) CHECK(!graph.steps()[static_cast<size_t>(s.step)].op->view);
    CHECK(p.tensors[static_cast<size_t>(end.id)].last == static_cast<int32_t>(p.steps.size()));
}

TEST_CASE("the CPU refuses to compute in 16 bits, by op and layer") {
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    Graph graph;
    const Tensor x = graph.bind(store.declare("x", Kind::input, {DType::bf16, {4}, {}}));
    {
        const LayerScope scope(graph, "layers.7.mlp", 7);
        graph.mark_output(silu(x));
    }
    CHECK_THROWS_WITH_AS(plan(graph, *backend),
                         "[silu] layers.7.mlp input x: expected f32 or f64 on the CPU, got bf16[4]; cast it first",
                         Error);
}

TEST_CASE("arithmetic of attention is counted by the keys that its spans name") {
    const auto backend = make_cpu_backend(1);
    ThreeLayers network(*backend);
    const Plan once = plan(*network.graph(), *backend), again = plan(*network.graph(), *backend, {Recompute::full});
    const double fewer = flops(once, *network.graph(), 10), more = flops(once, *network.graph(), 30);
    // Two products forward and five backward, each of 2 T H D for a key of every query.
    const double a_key = ThreeLayers::kLayers * 7 * 2.0 * ThreeLayers::kTokens * ThreeLayers::kChannels;
    CHECK(more - fewer == doctest::Approx(20 * a_key));
    CHECK(flops(again, *network.graph(), 10) > fewer);
}

}  // namespace ggq::test
