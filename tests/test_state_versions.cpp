// Steps that read or write state, and gradients of what they made: what could not be made again is kept, so that every
// policy gives the same bits, and no backward step reads a version that is gone.
#include <doctest/doctest.h>

#include <functional>

#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "ggq/program.h"
#include "tests/file_checks.h"

namespace ggq::test {

namespace {

constexpr int64_t kSize = 6;
const TensorType kType{DType::f32, {kSize}, {}};
const PlanOptions kNone{.recompute = Recompute::none}, kFull{.recompute = Recompute::full};

// now = counter += 1: an op that writes state and has another output.
void tick(const CpuContext&, const KernelArgs& args) { *args.out[1].as<float>() = *args.out[0].as<float>() += 1; }
const OpDef tick_op = {
    .name = "tick",
    .signature = "counter!:real[1] -> now[1]",
    .kernel = {{{tick, tick, tick}}},
};

// A layer silu(x + what `read` makes of state), then `overwrite`, then the gradient of the parameter x.
struct OverState {
    using Read = std::function<Tensor(OverState&)>;
    using Steps = std::function<void(OverState&)>;

    OverState(const Read& read, const Steps& overwrite, const Steps& after_gradient = {}) {
        const Tensor x = graph->bind(store.declare("x", Kind::parameter, kType));
        Tensor y;
        {
            const LayerScope scope(*graph, "layers.0", 0);
            y = silu(add(x, read(*this)));
        }
        overwrite(*this);
        gradient = backward(sum(y), std::vector{x})[0];
        graph->mark_output(gradient);
        if (after_gradient) after_gradient(*this);
        store.allocate();
    }

    std::vector<float> run(const PlanOptions& options) {
        Program program(graph, plan(*graph, *backend, options));
        const Arena arena(*backend, program.plan().arena_bytes);
        program.bind(*backend, arena);
        for (const Value& v : graph->values())
            if (v.kind == Kind::state) backend->zero(v.buffer->data, v.buffer->bytes());
        program.run();
        std::vector<float> values(kSize);
        program.read(gradient, values.data());
        return values;
    }

    std::unique_ptr<Backend> backend = make_cpu_backend(1);
    Store store{*backend};
    std::shared_ptr<Graph> graph = std::make_shared<Graph>();
    Buffer& flat = store.declare("flat", Kind::state, {DType::f32, {2 * kSize}, {}});
    Buffer& low = store.slice(flat, "low", 0, {kSize});
    Tensor gradient;
};

// With x = 0 and zero state; what is written comes too late to be seen.
void check_unaffected(const char* what, const OverState::Read& read, const OverState::Steps& overwrite) {
    CAPTURE(what);
    OverState network(read, overwrite);
    CHECK(network.run(kNone) == std::vector<float>(kSize, 0.5f));
    CHECK(network.run(kFull) == std::vector<float>(kSize, 0.5f));
}

Tensor newest(OverState& s, const Buffer& b) { return s.graph->bind(b); }

}  // namespace

TEST_CASE("a value made of state that is overwritten later is kept, not made again") {
    const auto fill_low = [](OverState& s) { fill(newest(s, s.low), 9); };
    const auto fill_flat = [](OverState& s) { fill(newest(s, s.flat), 9); };
    check_unaffected(
        "state", [](OverState& s) { return newest(s, s.low); }, fill_low);
    check_unaffected(
        "a slice of a buffer, written as a whole", [](OverState& s) { return newest(s, s.low); }, fill_flat);
    check_unaffected(
        "a buffer, of which a slice is written",
        [](OverState& s) { return contiguous(slice(newest(s, s.flat), 0, 0, kSize)); }, fill_low);
    check_unaffected(
        "a view of state", [](OverState& s) { return slice(newest(s, s.flat), 0, kSize, 2 * kSize); }, fill_flat);
    check_unaffected(
        "made of state over several steps", [](OverState& s) { return scale(silu(scale(newest(s, s.low), 2)), 3); },
        fill_low);
    check_unaffected(
        "a key-value cache",
        [](OverState& s) {
            const Buffer& cache = s.store.declare("cache", Kind::state, {DType::f32, {2, 3, 2}, {}});
            return reshape(slice(newest(s, cache), 0, 0, 1), {kSize});
        },
        [](OverState& s) {
            const Tensor rows = full(*s.graph, {DType::f32, {2, 3, 2}, {}}, 7);
            const Buffer& at = s.store.declare("at", Kind::input, {DType::i32, {1}, {}});
            const Buffer* cache = s.graph->values()[2].buffer;
            cache_write(newest(s, *cache), rows, newest(s, at));
        });
}

TEST_CASE("a step that writes state runs once, whatever is made again around it") {
    OverState network(
        [](OverState& s) {
            const Buffer& counter = s.store.declare("counter", Kind::state, {DType::f32, {1}, {}});
            const Tensor now = s.graph->append(tick_op, {s.graph->bind(counter)}, {}, 2)[1];
            return broadcast(now, {kSize}, 1);
        },
        [](OverState&) {});
    const Plan recomputed = plan(*network.graph, *network.backend, kFull);
    int n_ticks = 0;
    for (const PlannedStep& s : recomputed.steps)
        n_ticks += network.graph->steps()[static_cast<size_t>(s.step)].op == &tick_op;
    CHECK(n_ticks == 1);
    CHECK(recomputed.n_recomputed > 0);
    OverState again([](OverState& s) { return full(*s.graph, kType, 1); }, [](OverState&) {});
    CHECK(network.run(kFull) == again.run(kNone));
}

TEST_CASE("state that is overwritten after the gradients keeps nothing from being made again") {
    OverState network([](OverState& s) { return newest(s, s.low); }, [](OverState&) {},
                      [](OverState& s) { fill(newest(s, s.low), 9); });
    CHECK(plan(*network.graph, *network.backend, kFull).n_recomputed == 1);
    CHECK(network.run(kFull) == std::vector<float>(kSize, 0.5f));
}

TEST_CASE("a gradient that would read overwritten state is refused by name") {
    const auto product = [](OverState& s) {
        return mul(s.graph->bind(*s.graph->values()[0].buffer), newest(s, s.low));
    };
    CHECK_EQ(
        error_of([&] { OverState(product, [](OverState& s) { fill(newest(s, s.low), 9); }); }),
        "[mul] layers.0 low is read by a gradient after fill has overwritten it; let the forward pass read a copy");
    CHECK_EQ(
        error_of([&] { OverState(product, [](OverState& s) { fill(newest(s, s.flat), 9); }); }),
        "[mul] layers.0 low is read by a gradient after fill has overwritten it; let the forward pass read a copy");
    CHECK_EQ(error_of([&] { OverState(product, [](OverState&) {}); }), "no error");
}

}  // namespace ggq::test
