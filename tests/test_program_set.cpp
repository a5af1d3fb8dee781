// ProgramSet: what all programs of a set take together, whether it fits, and the order in which memory is taken.
#include "ggq/program_set.h"

#include <doctest/doctest.h>

#include <cmath>

#include "ggq/ops.h"
#include "tests/guarded_backend.h"
#include "tests/recording_backend.h"

namespace ggq::test {

namespace {

// state += silu(ones) over n elements.
std::shared_ptr<Graph> rising(const Buffer& state) {
    auto graph = std::make_shared<Graph>();
    accumulate(graph->bind(state), silu(full(*graph, state.type, 1)));
    return graph;
}

float first_of(const Store& store, const Buffer& buffer) {
    std::vector<float> values(static_cast<size_t>(buffer.type.shape.n_elems()));
    store.read(buffer, values.data());
    return values[0];
}

}  // namespace

TEST_CASE("a set takes what it said, and its programs share the largest arena") {
    const auto backend = make_cpu_backend(1);
    ProgramSet set(*backend);
    const Buffer& small = set.store().declare("small", Kind::state, {DType::f32, {4}, {}});
    const Buffer& large = set.store().declare("large", Kind::state, {DType::f32, {4096}, {}});
    Program& first = set.add("first", rising(small));
    Program& second = set.add("second", rising(large));
    const MemoryUse use = set.memory();
    CHECK(use.arena == second.plan().arena_bytes);
    CHECK(use.arena > first.plan().arena_bytes);
    CHECK(use.state == set.store().bytes());
    CHECK(backend->memory().bytes == 0);
    set.allocate();
    CHECK(backend->memory().bytes == use.total());
    first.run();
    second.run();
    second.run();
    CHECK(first_of(set.store(), small) == doctest::Approx(1 / (1 + std::exp(-1.0))));
    CHECK(first_of(set.store(), large) == doctest::Approx(2 / (1 + std::exp(-1.0))));
    CHECK(backend->memory().peak_bytes == use.total());
    CHECK_THROWS_AS(set.add("late", rising(small)), InternalError);
}

TEST_CASE("a set that does not fit is refused before anything is taken") {
    GuardedBackend backend(1, 1 << 20);
    ProgramSet set(backend);
    const Buffer& state = set.store().declare("state", Kind::state, {DType::f32, {1 << 18}, {}});
    set.add("rise", rising(state));
    CHECK_FALSE(set.fits());
    CHECK_THROWS_WITH_AS(
        set.require_fits("use a shorter row", " (`gpu_memory` 1MiB)"),
        "memory: the plan needs 3.0 MiB and 1.0 MiB are free (`gpu_memory` 1MiB), 2.0 MiB too few; use a shorter "
        "row",
        Error);
    CHECK(backend.memory().allocations == 0);
}

TEST_CASE("weights are loaded before the arena is taken") {
    const auto backend = make_cpu_backend(1);
    ProgramSet set(*backend);
    const Buffer& state = set.store().declare("state", Kind::state, {DType::f32, {64}, {}});
    const Buffer& weight = set.store().declare("weight", Kind::constant, {DType::f32, {1}, {}});
    set.add("rise", rising(state));
    const int64_t arena = set.memory().arena;
    set.allocate([&] {
        CHECK(backend->memory().bytes == set.memory().total() - arena);
        write_scalar(set.store(), weight, 3.0f);
    });
    CHECK(read_scalar<float>(set.store(), weight) == 3);
}

TEST_CASE("where programs are recorded each runs once on harmless inputs, and the state is zero afterwards") {
    RecordingBackend backend;
    ProgramSet set(backend);
    Buffer& state = set.store().declare("state", Kind::state, {DType::f32, {8}, {}});
    const Buffer& input = set.store().declare("input", Kind::input, {DType::f32, {8}, {}});
    auto graph = std::make_shared<Graph>();
    accumulate(graph->bind(state), graph->bind(input));
    const std::vector<float> ones(8, 1.0f);
    float seen_while_recording = 0;
    Program& program = set.add("rise", graph, {}, [&] { set.store().write(input, ones.data()); });
    backend.on_record = [&] { seen_while_recording = first_of(set.store(), state); };
    set.allocate();
    CHECK(seen_while_recording == 1);
    CHECK(first_of(set.store(), state) == 0);
    program.run();
    program.run();
    CHECK(first_of(set.store(), state) == 2);
    CHECK(backend.n_replays == 2);
}

}  // namespace ggq::test
