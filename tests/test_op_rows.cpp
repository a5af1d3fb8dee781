// What the rows of ops say beside shapes and gradients: their kernels, and the memory traffic of a call.
#include <doctest/doctest.h>

#include "ggq/backend.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"

namespace ggq::test {

namespace {

// A graph over buffers that never get memory, of which the last step is looked at.
struct Sketch {
    std::unique_ptr<Backend> backend = make_cpu_backend(1);
    Store store{*backend};
    Graph graph;

    Tensor tensor(DType dtype, const Shape& shape, Kind kind = Kind::input, QuantSpec quant = {}) {
        return graph.bind(store.declare("x", kind, {dtype, shape, quant}));
    }

    int64_t last_bytes() const {
        std::vector<TensorType> types;
        return traffic_bytes(graph.call(graph.steps().back(), types));
    }
};

}  // namespace

TEST_CASE("every op that is no view has a kernel for each device, and no view has one") {
    for (const OpDef* op : op_table()) {
        CAPTURE(op->name);
        CHECK(static_cast<bool>(op->kernel.cpu) == !op->view);
        CHECK((op->kernel.cuda != nullptr) == !op->view);
    }
}

TEST_CASE("traffic of an op is each input and output once, as stored") {
    Sketch s;
    const Tensor x = s.tensor(DType::f32, {3, 128}), half = s.tensor(DType::bf16, {3, 128});
    add(x, x);
    CHECK(s.last_bytes() == 3 * 3 * 128 * 4);
    cast(half, DType::f32);
    CHECK(s.last_bytes() == 3 * 128 * (2 + 4));
    const Tensor w = s.tensor(DType::nf4, {64, 128}, Kind::constant, {64, true});
    quant_matmul(x, w);
    CHECK(w.type().bytes() < 64 * 128);
    CHECK(s.last_bytes() == 4 * (3 * 128 + 3 * 64) + w.type().bytes());
    s.graph.append(rms_norm_op, {x, s.tensor(DType::f32, {128})}, RmsNormParams{});
    CHECK(s.last_bytes() == 4 * (3 * 128 + 128 + 3 * 128 + 3));
}

TEST_CASE("traffic of a view is nothing, of what reads a view only what is seen") {
    Sketch s;
    const Tensor part = slice(s.tensor(DType::f32, {10, 8}), 0, 0, 2);
    CHECK(s.last_bytes() == 0);
    silu(part);
    CHECK(s.last_bytes() == 2 * 2 * 8 * 4);
    reshape(transpose(part, 0, 1), {16});
    CHECK(s.last_bytes() == 0);
}

TEST_CASE("traffic of what is written in place is read and written, or written only") {
    Sketch s;
    const Tensor total = s.tensor(DType::f32, {100}, Kind::state), x = s.tensor(DType::bf16, {100});
    const Tensor newest = accumulate(total, x);
    CHECK(s.last_bytes() == 100 * (4 + 2 + 4));
    fill(newest, 0);
    CHECK(s.last_bytes() == 100 * 4);
    const Tensor cache = s.tensor(DType::bf16, {500, 2, 8}, Kind::state);
    cache_write(cache, s.tensor(DType::f32, {3, 2, 8}), s.tensor(DType::i32, {1}));
    CHECK(s.last_bytes() == 3 * 2 * 8 * (4 + 2) + 4);
}

TEST_CASE("traffic of a look-up is the rows that are looked at") {
    Sketch s;
    const Tensor table = s.tensor(DType::bf16, {1000, 16}), ids = s.tensor(DType::i32, {5});
    const Tensor y = embedding(table, ids);
    CHECK(s.last_bytes() == 5 * 16 * (2 + 4) + 5 * 4);
    s.graph.append(embedding_backward_op, {y, ids, table});
    CHECK(s.last_bytes() == 5 * 16 * 4 + 5 * 4 + 1000 * 16 * 4);
}

}  // namespace ggq::test
