// The gradient of every op that has one, against central differences in double of the loss sum(out * r).
#include <doctest/doctest.h>

#include <set>

#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "tests/case_run.h"
#include "tests/compare.h"

namespace ggq::test {

namespace {

constexpr size_t kMostElements = 48;     // of an input that are moved, evenly spread
constexpr int64_t kLargestInput = 5000;  // larger cases repeat smaller ones

bool is_differentiated(const OpCase& c) {
    if (CaseRun::wanted(c).empty()) return false;
    int64_t n_elems = 0;
    for (const CaseInput& in : c.in) n_elems += in.type.shape.n_elems();
    return n_elems <= kLargestInput;
}

Backend& cpu() {
    static const std::unique_ptr<Backend> backend = make_cpu_backend(1);
    return *backend;
}

void check_input(const OpCase& c, CaseRun& forward, size_t input, const std::vector<double>& gradient) {
    const std::vector<double>& x = c.in[input].values;
    std::vector<double> expected, actual;
    const size_t stride = (x.size() + kMostElements - 1) / kMostElements;
    for (size_t i = 0; i < x.size(); i += stride) {
        const double above = forward.loss_at(input, i, x[i] + c.step), below = forward.loss_at(input, i, x[i] - c.step);
        expected.push_back((above - below) / (2 * c.step));
        actual.push_back(gradient[i]);
    }
    CAPTURE(input);
    CHECK_EQ(difference(actual, expected, 1e-6, 1e-2), "");
}

void check_gradients(const OpCase& c, int times) {
    CaseRun forward(c, cpu(), {.real = DType::f64, .times = times});
    CaseRun both(c, cpu(), {.real = DType::f64, .gradients = true, .times = times});
    forward.run();
    const std::vector<Result> results = both.run();
    const std::vector<size_t> wanted = CaseRun::wanted(c);
    for (size_t i = 0; i < wanted.size(); ++i)
        check_input(c, forward, wanted[i], results[results.size() - wanted.size() + i].values());
}

}  // namespace

TEST_CASE("every gradient agrees with central differences") {
    for (const OpCase& c : op_cases()) {
        if (!is_differentiated(c)) continue;
        CAPTURE(c.name);
        check_gradients(c, 1);
    }
}

TEST_CASE("a tensor that is used twice gets the sum of both gradients") {
    std::set<const OpDef*> seen;
    for (const OpCase& c : op_cases()) {
        if (!is_differentiated(c) || c.in[0].type.shape.n_elems() < 3) continue;
        if (!seen.insert(c.op).second) continue;
        CAPTURE(c.name);
        check_gradients(c, 2);
    }
}

TEST_CASE("every op with a gradient is differentiated in some case") {
    std::set<std::string> done, expected;
    for (const OpDef* op : op_table())
        if (op->gradient) expected.insert(op->name);
    for (const OpCase& c : all_op_cases())
        if (c.op->gradient && is_differentiated(c)) done.insert(c.op->name);
    CHECK_EQ(difference(done, expected), "");
}

TEST_CASE("only these ops, and backwards, have no gradient") {
    const std::set<std::string> expected = {"adamw",
                                            "adamw_8bit",  // optimizer steps
                                            "quantize",
                                            "dequantize",  // what is quantized is frozen
                                            "global_norm",
                                            "clip_factor",  // clipping
                                            "accumulate",
                                            "cache_write",
                                            "fill",          // writes of state
                                            "window_spans",  // which keys are seen
                                            "norm_qkv",
                                            "norm_swiglu",
                                            "add_linear",  // generating text
                                            "cached_attention",
                                            "sample",
                                            "next_token",
                                            "lora_norm_qkv",
                                            "lora_norm_swiglu",
                                            "lora_add_linear",
                                            "linear_input_gradient",
                                            "lora_down_input_gradient",
                                            "full"};  // a constant
    std::set<std::string> without;
    for (const OpDef* op : op_table())
        if (!op->gradient && !std::string_view(op->name).ends_with("_backward")) without.insert(op->name);
    CHECK_EQ(difference(without, expected), "");
}

namespace {

struct Declared {
    std::unique_ptr<Backend> backend = make_cpu_backend(1);
    Store store{*backend};
    Graph graph;

    Tensor parameter(const std::string& name, const TensorType& type) {
        return graph.bind(store.declare(name, Kind::parameter, type));
    }
};

std::string backward_error(Tensor loss, std::vector<Tensor> params) {
    try {
        backward(loss, params);
    } catch (const Error& e) {
        return e.what();
    }
    return "accepted";
}

}  // namespace

TEST_CASE("backward refuses by name what it cannot do") {
    Declared d;
    const Tensor x = d.parameter("x", {DType::f32, {2, 3}, {}}), idle = d.parameter("idle", {DType::f32, {2}, {}});
    CHECK_EQ(backward_error(mul(x, x), {x}), "backward: expected a loss of shape [1], got [2,3]");
    CHECK_EQ(backward_error(sum(x), {x, idle}), "backward: parameter 'idle' does not reach the loss");
    const LayerScope scope(d.graph, "layers.3.mlp");
    CHECK_EQ(backward_error(global_norm(x), {x}), "[global_norm] layers.3.mlp: this op has no gradient");
}

TEST_CASE("a gradient that reaches an output which its rule does not take is refused by name") {
    Declared d;
    const Tensor x = d.parameter("x", {DType::f32, {2, 3}, {}}), w = d.parameter("w", {DType::f32, {3}, {}});
    const LayerScope scope(d.graph, "layers.3.mlp");
    const std::vector<Tensor> both = d.graph.append(rms_norm_op, {x, w}, RmsNormParams{});
    const std::string expected =
        "[rms_norm] layers.3.mlp output rstd: a gradient reaches it, but this op passes on none of it";
    CHECK_EQ(backward_error(sum(both[1]), {x}), expected);
    CHECK_EQ(backward_error(add(sum(both[0]), sum(both[1])), {x, w}), expected);
    CHECK_EQ(backward_error(sum(both[0]), {x, w}), "accepted");
}

TEST_CASE("an input that its op gives no gradient is not differentiated in silence") {
    Declared d;
    const Tensor x = d.parameter("x", {DType::f32, {2, 2, 4}, {}}), f = d.parameter("f", {DType::f32, {2}, {}});
    const Tensor positions = d.graph.bind(d.store.declare("positions", Kind::input, {DType::i32, {2}, {}}));
    const LayerScope scope(d.graph, "layers.1");
    const Tensor loss = add(sum(rope(x, positions, f)), sum(f));
    CHECK_EQ(backward_error(loss, {x, f}),
             "[rope] layers.1 input frequencies: a gradient of 'f' is wanted, but this op gives none");
    CHECK_EQ(backward_error(loss, {x}), "accepted");
    const Tensor w = d.parameter("w", {DType::f32, {64, 4}, {}}), rows = reshape(x, {4, 4});
    CHECK_EQ(backward_error(sum(quant_matmul(rows, quantize(w, DType::int8, {}))), {x, w}),
             "[quant_matmul] layers.1 input w: a gradient is wanted, but this op gives none");
}

namespace {

void sum_and_difference(const CpuContext&, const KernelArgs& args) {
    for (int64_t i = 0; i < args.out[0].n_elems(); ++i) {
        const double a = args.in[0].as<double>()[i], b = args.in[1].as<double>()[i];
        args.out[0].as<double>()[i] = a + b;
        args.out[1].as<double>()[i] = a - b;
    }
}

// An op with two outputs whose rule takes the gradients of both.
const OpDef sum_and_difference_op = {
    .name = "sum_and_difference",
    .signature = "a:real[N] b:real[N] -> sum[N] difference[N]",
    .gradient =
        [](Gradients& g) {
            g.set(0, add(g.dy(0), g.dy(1)));
            g.set(1, add(g.dy(0), scale(g.dy(1), -1)));
        },
    .kernel = {{{sum_and_difference, sum_and_difference, sum_and_difference}}},
};

// Which outputs the loss reads.
OpCase case_of_outputs(const std::vector<size_t>& read) {
    OpCase c{"sum_and_difference of " + std::to_string(read.size()) + " from " + std::to_string(read[0]),
             &sum_and_difference_op,
             {normal({5}), normal({5})},
             [read](const std::vector<Tensor>& in) {
                 const std::vector<Tensor> all = in[0].graph->append(sum_and_difference_op, in);
                 std::vector<Tensor> out;
                 for (size_t i : read) out.push_back(all[i]);
                 return out;
             }};
    draw_values(c.name, c.in);
    return c;
}

}  // namespace

TEST_CASE("a rule may take the gradients of several outputs; one that nothing reached is zero") {
    for (const std::vector<size_t>& read : {std::vector<size_t>{0, 1}, {0}, {1}}) {
        const OpCase c = case_of_outputs(read);
        CAPTURE(c.name);
        check_gradients(c, 1);
    }
}

TEST_CASE("a frozen weight is not differentiated in silence") {
    Declared d;
    const Tensor x = d.parameter("x", {DType::f32, {2, 3}, {}}), w = d.parameter("w", {DType::f32, {4, 3}, {}});
    const Tensor a = d.parameter("a", {DType::f32, {1, 3}, {}}), b = d.parameter("b", {DType::f32, {4, 1}, {}});
    const Tensor rng = d.graph.bind(d.store.declare("rng", Kind::input, {DType::i64, {2}, {}}));
    const LayerScope scope(d.graph, "layers.1");
    CHECK_EQ(backward_error(sum(lora_linear(x, w, lora_down(x, rng, {a}, {})[0], b, 1)), {a, b, w}),
             "[lora_linear] layers.1 input w: is frozen, but a gradient of 'w' is wanted; use matmul");
    const Tensor labels = d.graph.bind(d.store.declare("labels", Kind::input, {DType::i32, {2}, {}}));
    CHECK_EQ(backward_error(linear_cross_entropy(x, w, labels, HeadGradient::input), {w}),
             "[linear_cross_entropy] a gradient is wanted that the forward pass was not told to compute");
}

namespace {

// What the sink gets: the numbers of the parameters at each call, and the layer in which it may use up their gradients.
struct Handed {
    std::vector<std::vector<size_t>> params;
    std::vector<int32_t> layers;
};

Handed handed(Tensor loss, const std::vector<Tensor>& params) {
    Handed calls;
    backward(loss, params, [&](std::span<const GradientPart> parts) {
        calls.params.emplace_back();
        for (const GradientPart& part : parts) {
            CHECK(part.gradient.shape() == params[part.param].shape());
            calls.params.back().push_back(part.param);
        }
        silu(parts[0].gradient);
        calls.layers.push_back(loss.graph->steps().back().layer);
    });
    return calls;
}

}  // namespace

TEST_CASE("the sink gets the gradients of a layer at once, before those of earlier layers are there") {
    Declared d;
    const TensorType type{DType::f32, {2, 3}, {}};
    const Tensor first = d.parameter("first", type), second = d.parameter("second", type);
    const auto in_layer = [&](int number, const std::function<Tensor()>& build) {
        const LayerScope scope(d.graph, std::to_string(number), number);
        return build();
    };
    const Tensor x = in_layer(0, [&] { return silu(first); });
    const Tensor y = in_layer(1, [&] { return add(mul(silu(mul(x, second)), x), first); });
    const Handed calls = handed(sum(y), {first, second});
    CHECK(calls.params == std::vector<std::vector<size_t>>{{0, 1}, {0}});
    CHECK(calls.layers == std::vector<int32_t>{1, 0});
}

TEST_CASE("the sink gets no parameter twice at once, and what is heavy sooner") {
    Declared d;
    const TensorType small{DType::f32, {2, 3}, {}}, large{DType::f32, {kHeldBackBytes / 16, 5}, {}};
    const Tensor twice = d.parameter("twice", small), once = d.parameter("once", small);
    const Handed calls = handed(sum(mul(add(mul(twice, once), twice), once)), {twice, once});
    CHECK(calls.params == std::vector<std::vector<size_t>>{{1, 0}, {0, 1}});
    const Tensor heavy = d.parameter("heavy", large), other = d.parameter("other", large);
    const Handed apart = handed(sum(silu(add(silu(heavy), other))), {heavy, other});
    CHECK(apart.params == std::vector<std::vector<size_t>>{{1}, {0}});
}

TEST_CASE("an input that needs no gradient costs no step") {
    Declared d;
    const TensorType type{DType::f32, {2, 3}, {}};
    const Tensor x = d.graph.bind(d.store.declare("x", Kind::input, type)), w = d.parameter("w", type);
    const Tensor loss = sum(mul(silu(x), w));
    const std::vector<Tensor> params{w};
    backward(loss, params);
    for (const Step& step : d.graph.steps()) CHECK(std::string(step.op->name) != "silu_backward");
}

}  // namespace ggq::test
