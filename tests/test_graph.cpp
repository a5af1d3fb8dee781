// The graph: versions of state, views, scopes in messages, and what the builders refuse.
#include "ggq/graph.h"

#include <doctest/doctest.h>

#include <memory>

#include "ggq/backend.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "tests/file_checks.h"

namespace ggq::test {

namespace {

// A graph over buffers that never get memory.
struct Sketch {
    std::unique_ptr<Backend> backend = make_cpu_backend(1);
    Store store{*backend};
    Graph graph;

    Tensor tensor(const std::string& name, const Shape& shape, DType dtype = DType::f32, Kind kind = Kind::input) {
        return graph.bind(store.declare(name, kind, {dtype, shape, {}}));
    }
    Tensor state(const std::string& name, const Shape& shape) { return tensor(name, shape, DType::f32, Kind::state); }
};

}  // namespace

TEST_CASE("bind gives one handle a buffer, the newest version after a write") {
    Sketch s;
    const Buffer& b = s.store.declare("total", Kind::state, {DType::f32, {3}, {}});
    const Tensor first = s.graph.bind(b);
    CHECK(s.graph.bind(b).id == first.id);
    const Tensor written = accumulate(first, s.tensor("x", {3}));
    CHECK(written.id != first.id);
    CHECK(s.graph.bind(b).id == written.id);
    CHECK(written.kind() == Kind::state);
    CHECK(written.name() == "total");
}

TEST_CASE("a state that was overwritten cannot be read, nor a view of it") {
    Sketch s;
    const Tensor old = s.state("total", {2, 3}), view = transpose(old, 0, 1), x = s.tensor("x", {2, 3});
    const Tensor part = slice(accumulate(old, x), 0, 0, 1);
    CHECK_EQ(error_of([&] { silu(old); }),
             "[silu] total is read after accumulate has overwritten it; take the newest version with bind()");
    CHECK_EQ(error_of([&] { matmul(view, view); }),
             "[matmul] total is read after accumulate has overwritten it; take the newest version with bind()");
    CHECK_EQ(error_of([&] { reshape(old, {6}); }),
             "[reshape] total is read after accumulate has overwritten it; take the newest version with bind()");
    CHECK_NOTHROW(silu(part));
}

TEST_CASE("what shares memory with a tensor that was overwritten cannot be read either") {
    Sketch s;
    Buffer& flat = s.store.declare("flat", Kind::state, {DType::f32, {8}, {}});
    const Buffer &low = s.store.slice(flat, "low", 0, {4}), &high = s.store.slice(flat, "high", 4, {4});
    const Tensor whole = s.graph.bind(flat), part = s.graph.bind(low);
    accumulate(part, s.tensor("x", {4}));
    CHECK_EQ(error_of([&] { silu(whole); }),
             "[silu] flat is read after accumulate has overwritten it; use only one of two tensors that share memory");
    CHECK_NOTHROW(silu(s.graph.bind(low)));
    const Tensor other = s.graph.bind(high);
    CHECK_NOTHROW(silu(other));
    Graph second;
    fill(second.bind(flat), 0);
    CHECK_EQ(error_of([&] { second.bind(high); }),
             "bind: high shares memory with flat, which was overwritten; use only one of the two");
}

TEST_CASE("only a whole parameter or state is written in place") {
    Sketch s;
    const Tensor x = s.tensor("x", {2, 3}), total = s.state("total", {4, 3});
    CHECK_EQ(error_of([&] { accumulate(x, x); }),
             "[accumulate] y 'x' is written in place: expected a parameter or state, got input");
    CHECK_EQ(error_of([&] { accumulate(silu(x), x); }),
             "[accumulate] y '' is written in place: expected a parameter or state, got temporary");
    CHECK_EQ(error_of([&] { accumulate(slice(total, 0, 2, 4), x); }),
             "[accumulate] y 'total' is written in place: expected the whole tensor, got a view of it");
}

TEST_CASE("messages name op, layer, input, what is expected and what came") {
    Sketch s;
    const Tensor x = s.tensor("x", {4, 5}), w = s.tensor("w", {4}), d = s.tensor("d", {4, 5}, DType::f64);
    const Tensor ids = s.tensor("ids", {4}, DType::i32);
    CHECK_EQ(error_of([&] { rms_norm(x, w, 1e-5f); }), "[rms_norm] input w: expected shape [5], got f32[4]");
    const LayerScope scope(s.graph, "model.layers.3.mlp", 3);
    CHECK_EQ(error_of([&] { rms_norm(x, w, 1e-5f); }),
             "[rms_norm] model.layers.3.mlp input w: expected shape [5], got f32[4]");
    CHECK_EQ(error_of([&] { add(x, d); }), "[add] model.layers.3.mlp input b: expected f32 as a has, got f64[4,5]");
    CHECK_EQ(error_of([&] { embedding(x, w); }),
             "[embedding] model.layers.3.mlp input ids: expected dtype i32, got f32[4]");
    CHECK_EQ(error_of([&] { matmul(x, ids); }),
             "[matmul] model.layers.3.mlp input w: expected dtype float, got i32[4]");
    CHECK_EQ(error_of([&] { quant_matmul(x, x); }),
             "[quant_matmul] model.layers.3.mlp input w: expected dtype quant, got f32[4,5]");
    CHECK_EQ(error_of([&] { s.graph.append(silu_op, {x, x}); }), "[silu] model.layers.3.mlp expected 1 inputs, got 2");
}

TEST_CASE("a scope names its steps and ends with its block") {
    Sketch s;
    const Tensor x = s.tensor("x", {4});
    {
        const LayerScope layer(s.graph, "layers.2", 2);
        const LayerScope part(s.graph, "layers.2.mlp");
        silu(x);
    }
    silu(x);
    const std::vector<Step>& steps = s.graph.steps();
    CHECK(s.graph.scope_of(steps[0]) == "layers.2.mlp");
    CHECK(steps[0].layer == 2);
    CHECK(s.graph.scope_of(steps[1]).empty());
    CHECK(steps[1].layer == -1);
}

TEST_CASE("what builders refuse beyond their signatures") {
    Sketch s;
    const Tensor x = s.tensor("x", {6, 4}), heads = s.tensor("heads", {3, 4, 5}),
                 spans = s.tensor("s", {3, 2}, DType::i32);
    CHECK_EQ(error_of([&] { reshape(x, {5, 5}); }), "[reshape] expected 24 elements, got shape [5,5]");
    CHECK_EQ(error_of([&] { transpose(x, 0, 2); }), "[transpose] expected an axis below 2, got 2");
    CHECK_EQ(error_of([&] { slice(x, 1, 2, 5); }), "[slice] expected a range within 4, got 2..5");
    CHECK_EQ(error_of([&] { slice(x, 1, 2, 2); }), "[slice] expected a range within 4, got 2..2");
    CHECK_EQ(error_of([&] { slice(quantize(x, DType::nf4, {}), 0, 0, 1); }),
             "[slice] expected a tensor that is not quantized, got nf4[6,4]");
    CHECK_EQ(error_of([&] { quantize(x, DType::f16, {}); }), "[quantize] expected one of nf4, fp4, int8, got f16");
    CHECK_EQ(error_of([&] {
                 quantize(x, DType::nf4, {32, true});
             }),
             "[quantize] expected a block of 64, 128 or 256, got 32");
    CHECK_EQ(error_of([&] {
                 attention(heads, s.tensor("k", {3, 3, 5}), heads, spans, 1);
             }),
             "[attention] k: expected key heads that divide the query heads, got q [3,4,5] and k [3,3,5]");
    CHECK_EQ(error_of([&] { rope(heads, s.tensor("p", {3}, DType::i32), s.tensor("f", {2})); }),
             "[rope] x: expected an even head size, got [3,4,5]");
    CHECK_EQ(error_of([&] {
                 adamw_8bit(
                     s.state("p", {300}),
                     {s.tensor("m", {300}, DType::u8, Kind::state), s.tensor("v", {300}, DType::u8, Kind::state),
                      s.state("ms", {1}), s.state("vs", {1})},
                     {s.tensor("g", {300}), s.tensor("r", {1}), s.tensor("t", {1}, DType::i64), s.tensor("c", {1})},
                     {});
             }),
             "[adamw_8bit] m_scale: expected shape [2], got [1]");
    Sketch other;
    CHECK_EQ(error_of([&] { add(x, other.tensor("y", {6, 4})); }), "[add] an input belongs to another graph");
}

TEST_CASE("views change shape and strides, not memory; a copy is made only where a kernel needs one") {
    Sketch s;
    const Tensor x = s.tensor("x", {3, 4, 5});
    const Tensor turned = transpose(slice(x, 1, 1, 3), 0, 2);
    const Value& v = s.graph.value(turned);
    CHECK(v.type.shape == Shape{5, 2, 3});
    CHECK((v.strides[0] == 1 && v.strides[1] == 5 && v.strides[2] == 20));
    CHECK(v.first == 5);
    CHECK(v.storage == x.id);
    CHECK(contiguous(x).id == x.id);
    const size_t n_steps = s.graph.steps().size();
    matmul(transpose(s.tensor("a", {7, 3}), 0, 1), s.tensor("b", {2, 7}));
    CHECK(s.graph.steps().size() == n_steps + 2);  // transpose, matmul
    silu(turned);
    CHECK(s.graph.steps().size() == n_steps + 4);  // copy, silu
    CHECK(std::string(s.graph.steps()[n_steps + 2].op->name) == "copy");
}

TEST_CASE("a graph prints one line a step") {
    Sketch s;
    const LayerScope scope(s.graph, "layers.0", 0);
    silu(s.tensor("x", {2, 3}));
    const std::string text = to_string(s.graph);
    CHECK(text.starts_with("silu "));
    CHECK(text.find("layers.0") != std::string::npos);
    CHECK(text.ends_with("x f32[2,3] -> %1 f32[2,3]\n"));
}

}  // namespace ggq::test
