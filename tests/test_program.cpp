// Programs: memory to the byte, no allocation while running, outputs that last, in-place state, micro-batches.
#include "ggq/program.h"

#include <doctest/doctest.h>

#include "ggq/backward.h"
#include "ggq/ops.h"
#include "tests/case_inputs.h"
#include "tests/compare.h"
#include "tests/guarded_backend.h"
#include "tests/three_layers.h"

namespace ggq::test {

namespace {

void write(Store& store, const Buffer& buffer, const CaseInput& in) {
    store.write(buffer, stored(in, buffer.type).data());
}

std::vector<double> read(const Store& store, const Buffer& buffer) {
    std::vector<std::byte> bytes(static_cast<size_t>(buffer.bytes()));
    store.read(buffer, bytes.data());
    return to_doubles(buffer.type.dtype, bytes);
}

std::vector<double> read(const Program& program, Tensor t) {
    std::vector<std::byte> bytes(static_cast<size_t>(t.type().bytes()));
    program.read(t, bytes.data());
    return to_doubles(t.dtype(), bytes);
}

// A program and its arena, bound to the store's backend.
struct Bound {
    Program program;
    Arena arena;

    Bound(const std::shared_ptr<Graph>& graph, Store& store)
        : program(graph, plan(*graph, store.backend())), arena(store.backend(), program.plan().arena_bytes) {
        store.allocate();
        program.bind(store.backend(), arena);
    }
};

}  // namespace

TEST_CASE("memory is what store and plan say, to the byte, and all of it is given back") {
    const auto backend = make_cpu_backend(2);
    {
        ThreeLayers network(*backend);
        CHECK(backend->memory().bytes == 0);  // graph and plan take none
        Bound bound(network.graph(), network.store());
        const int64_t expected = network.store().bytes() + bound.program.plan().arena_bytes;
        CHECK(backend->memory().bytes == expected);
        const int64_t n_allocations = backend->memory().allocations;
        network.write_inputs();
        for (int i = 0; i < 3; ++i) bound.program.run();
        CHECK(backend->memory().allocations == n_allocations);
        CHECK(backend->memory().peak_bytes == expected);
    }
    CHECK(backend->memory().bytes == 0);
}

TEST_CASE("an arena smaller than the plan and a run before bind are refused") {
    const auto backend = make_cpu_backend(1);
    ThreeLayers network(*backend);
    network.store().allocate();
    Program program(network.graph(), plan(*network.graph(), *backend));
    const Arena small(*backend, program.plan().arena_bytes - 1);
    CHECK_THROWS_AS(program.bind(*backend, small), InternalError);
    CHECK_THROWS_AS(program.run(), InternalError);
}

TEST_CASE("an output survives every later step") {
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    const auto graph = std::make_shared<Graph>();
    const Buffer& x = store.declare("x", Kind::input, {DType::f32, {100}, {}});
    const Tensor early = scale(graph->bind(x), 2);
    graph->mark_output(early);
    Tensor t = early;
    for (int i = 0; i < 20; ++i) t = silu(t);
    graph->mark_output(t);
    Bound bound(graph, store);
    const CaseInput values = drawn("x", normal({100}));
    write(store, x, values);
    bound.program.run();
    std::vector<double> doubled = values.values;
    for (double& v : doubled) v *= 2;
    CHECK(read(bound.program, early) == doubled);
}

TEST_CASE("only what was marked can be read") {
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    const auto graph = std::make_shared<Graph>();
    const Buffer& x = store.declare("x", Kind::input, {DType::f32, {2, 3}, {}});
    const Tensor unmarked = silu(graph->bind(x)), marked = silu(unmarked), turned = transpose(marked, 0, 1);
    graph->mark_output(marked);
    Bound bound(graph, store);
    bound.program.run();
    CHECK_NOTHROW(read(bound.program, marked));
    CHECK_NOTHROW(read(bound.program, graph->bind(x)));
    CHECK_THROWS_AS(read(bound.program, unmarked), InternalError);
    CHECK_THROWS_AS(read(bound.program, turned), InternalError);
}

TEST_CASE("state written in place: readers before the write see the old value, the newest version the new one") {
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    const auto graph = std::make_shared<Graph>();
    const Buffer& total = store.declare("total", Kind::state, {DType::f32, {3}, {}});
    const Buffer& x = store.declare("x", Kind::input, {DType::f32, {3}, {}});
    const Tensor before = scale(graph->bind(total), 1);
    const Tensor newest = accumulate(graph->bind(total), graph->bind(x));
    const Tensor after = scale(newest, 1);
    graph->mark_output(before);
    graph->mark_output(after);
    Bound bound(graph, store);
    write(store, x, real({3}, {1, 2, 3}));
    write(store, total, real({3}, {10, 20, 30}));
    bound.program.run();
    CHECK(read(bound.program, before) == std::vector<double>{10, 20, 30});
    CHECK(read(bound.program, after) == std::vector<double>{11, 22, 33});
    bound.program.run();
    CHECK(read(store, total) == std::vector<double>{12, 24, 36});
}

namespace {

// d loss / d w of a small product, added to a state.
class Accumulation {
public:
    Accumulation(Backend& backend, int64_t n_rows) : store_(backend) {
        const auto graph = std::make_shared<Graph>();
        x_ = &store_.declare("x", Kind::input, {DType::f32, {n_rows, 5}, {}});
        w_ = &store_.declare("w", Kind::parameter, {DType::f32, {7, 5}, {}});
        sum_ = &store_.declare("gradient", Kind::state, {DType::f32, {7, 5}, {}});
        const std::vector<Tensor> params{graph->bind(*w_)};
        const Tensor loss = sum(silu(matmul(graph->bind(*x_), params[0])));
        backward(loss, params, [&](std::span<const GradientPart> parts) {
            for (const GradientPart& part : parts) accumulate(graph->bind(*sum_), part.gradient);
        });
        bound_ = std::make_unique<Bound>(graph, store_);
    }

    void run(const CaseInput& x, const CaseInput& w) {
        write(store_, *x_, x);
        write(store_, *w_, w);
        bound_->program.run();
    }
    std::vector<double> total() const { return read(store_, *sum_); }

private:
    Store store_;
    Buffer *x_, *w_, *sum_;
    std::unique_ptr<Bound> bound_;
};

}  // namespace

TEST_CASE("two micro-batches give the gradient of one batch of both") {
    const auto backend = make_cpu_backend(1);
    const CaseInput w = drawn("w", normal({7, 5}));
    const CaseInput first = drawn("first", normal({3, 5})), second = drawn("second", normal({3, 5}));
    CaseInput both = real({6, 5}, {});
    both.values = first.values;
    both.values.insert(both.values.end(), second.values.begin(), second.values.end());
    Accumulation small(*backend, 3), large(*backend, 6);
    small.run(first, w);
    small.run(second, w);
    large.run(both, w);
    CHECK_EQ(difference(small.total(), large.total(), 1e-6), "");
}

TEST_CASE("programs that share an arena and a store run one after the other") {
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    const Buffer& state = store.declare("state", Kind::state, {DType::f32, {4}, {}});
    const auto rise = std::make_shared<Graph>(), wipe = std::make_shared<Graph>();
    accumulate(rise->bind(state), silu(full(*rise, {DType::f32, {4}, {}}, 1)));
    fill(wipe->bind(state), 0);
    Program first(rise, plan(*rise, *backend)), second(wipe, plan(*wipe, *backend));
    store.allocate();
    const Arena arena(*backend, std::max(first.plan().arena_bytes, second.plan().arena_bytes));
    first.bind(*backend, arena);
    second.bind(*backend, arena);
    first.run();
    first.run();
    CHECK(read(store, state)[3] == doctest::Approx(2 / (1 + std::exp(-1.0))));
    second.run();
    CHECK(read(store, state) == std::vector<double>(4, 0));
}

TEST_CASE("slices of one buffer share its memory") {
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    Buffer& flat = store.declare("flat", Kind::state, {DType::f32, {10}, {}});
    const Buffer& part = store.slice(flat, "part", 4, {2, 3});
    store.allocate();
    write(store, flat, real({10}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    CHECK(read(store, part) == std::vector<double>{4, 5, 6, 7, 8, 9});
    CHECK(store.bytes() == 256);
    CHECK_THROWS_AS(store.slice(flat, "beyond", 5, {2, 3}), InternalError);
}

TEST_CASE("too much memory is refused in one sentence") {
    GuardedBackend backend(1, 3 << 20);
    const Arena arena(backend, 1 << 20);
    CHECK_THROWS_WITH_AS(Arena(backend, (2 << 20) + 256),
                         "guarded: could not allocate 2.0 MiB (1.0 MiB are allocated already); use a smaller batch or "
                         "length",
                         Error);
    CHECK(backend.memory().bytes == 1 << 20);
}

TEST_CASE("a profile counts calls and arithmetic by op") {
    const auto backend = make_cpu_backend(1);
    ThreeLayers network(*backend);
    Bound bound(network.graph(), network.store());
    network.write_inputs();
    Profile profile;
    bound.program.run(&profile);
    bound.program.run(&profile);
    CHECK(profile.rows.at("attention").calls == 2 * ThreeLayers::kLayers);
    CHECK(profile.rows.at("matmul").flops > 0);
    CHECK(profile.rows.at("rms_norm").bytes > 0);
    CHECK(profile.kernel_seconds <= profile.wall_seconds);
    CHECK(profile.table().find("attention_backward") != std::string::npos);
}

TEST_CASE("a profile's table says GB/s, GFLOP/s only of ops that compute, and - where there is no rate") {
    Profile profile;
    profile.rows["matmul"] = {0.5, 2, 3e9, 1e9};
    profile.rows["add"] = {0.25, 4, 0, 2e9};
    profile.rows["idle"] = {0, 1, 0, 0};
    profile.kernel_seconds = 0.75;
    profile.wall_seconds = 1;
    CHECK_EQ(profile.table(),
             "op                               calls          ms       %     GFLOP/s      GB/s\n"
             "matmul                               2     500.000   50.00         6.0       2.0\n"
             "add                                  4     250.000   25.00           -       8.0\n"
             "idle                                 1       0.000    0.00           -         -\n"
             "sum of ops                                 750.000   75.00\n"
             "wall                                      1000.000  100.00\n");
}

}  // namespace ggq::test
