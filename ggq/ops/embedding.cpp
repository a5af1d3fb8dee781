// Rows of a table by token id.
#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cuda/workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

std::vector<TensorType> embedding_types(const OpCall& call) {
    return {{call.param<CastParams>().to, {call.in[1].shape[0], call.in[0].shape[1]}, {}}};
}

void embedding_gradient(Gradients& g) {
    g.set(0, g.graph().append(embedding_backward_op, {g.dy(), g.in(1), g.in(0)})[0]);
}

}  // namespace

const OpDef embedding_op = {
    .name = "embedding",
    .signature = "table:weight[V,C] ids:i32[T] -> y[T,C]",
    .infer = embedding_types,
    .gradient = embedding_gradient,
    .bytes =
        [](const OpCall& c) {
            const TensorType rows{c.in[0].dtype, c.out[0].shape, {}};  // of the table, those that are looked up
            return rows.bytes() + c.in[1].bytes() + c.out[0].bytes();
        },
    .kernel = kernels::embedding,
};

// dtable has the table's shape, which neither dy nor ids tell, so the table comes along unread.
const OpDef embedding_backward_op = {
    .name = "embedding_backward",
    .signature = "dy:real[T,C] ids:i32[T] table:float[V,C] -> dtable:stat[V,C]",
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device&) {
            return cuda::embedding_backward_workspace(c.in[0].shape[0], c.in[2].shape[0]);
        },
    .bytes = [](const OpCall& c) { return c.in[0].bytes() + c.in[1].bytes() + c.out[0].bytes(); },
    .kernel = kernels::embedding_backward,
};

Tensor embedding(Tensor table, Tensor ids, DType out) {
    return table.graph->append(embedding_op, {table, ids}, CastParams{out})[0];
}

}  // namespace ggq
