// The arithmetic that documents need, and what a device can do beside it.
#include "models/train/ceiling.h"

#include <doctest/doctest.h>

#include "ggq/needed_flops.h"
#include "ggq/ops.h"

namespace ggq::test {

namespace {

Tensor input(Store& store, Graph& graph, const char* name, const Shape& shape, DType dtype = DType::f32) {
    return graph.bind(store.declare(name, Kind::input, {dtype, shape, {}}));
}

}  // namespace

TEST_CASE("needed arithmetic: products by the token, attention by the key, the head by the label") {
    constexpr int64_t T = 6, C = 8, V = 10;
    const auto cpu = make_cpu_backend(1);
    Store store(*cpu);
    Graph graph;
    const auto matrix = [&](const char* name, const Shape& shape) { return input(store, graph, name, shape); };
    const Tensor x = matrix("x", {T, C}), w = matrix("w", {C, C}), head = matrix("head", {V, C});
    const Tensor spans = input(store, graph, "spans", {T, 2}, DType::i32);
    const Tensor labels = input(store, graph, "labels", {T}, DType::i32);
    const Tensor q = reshape(matmul(x, w), {T, 2, C / 2});
    const Tensor y = reshape(attention(q, q, q, spans, 1), {T, C});
    linear_cross_entropy(y, head, labels, HeadGradient::none);
    const NeededFlops needed = needed_flops(graph, T);
    CHECK(needed.a_token == doctest::Approx(2 * C * C));
    CHECK(needed.a_key == doctest::Approx(2 * 2 * C));
    CHECK(needed.a_label == doctest::Approx(2 * C * V));
}

TEST_CASE("ceiling: measured where a product fits in the arena, else not known") {
    const auto cpu = make_cpu_backend(1);
    ProgramSet small(*cpu);
    CHECK(measured_ceiling(small, DType::f32) == 0);

    ProgramSet set(*cpu);
    auto graph = std::make_shared<Graph>();
    const Tensor x = input(set.store(), *graph, "x", {1024, 1024});
    graph->mark_output(add(scale(x, 2), scale(x, 3)));
    set.add("large", graph);
    set.allocate();
    CHECK(measured_ceiling(set, DType::f32) > 1e8);
}

}  // namespace ggq::test
