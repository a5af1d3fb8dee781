// Softmax over the last dimension.
#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void softmax_gradient(Gradients& g) { g.set(0, g.graph().append(softmax_backward_op, {g.dy(), g.out(0)})[0]); }

}  // namespace

const OpDef softmax_op = {
    .name = "softmax",
    .signature = "x:real[...] -> y[...]",
    .gradient = softmax_gradient,
    .kernel = kernels::softmax,
};

const OpDef softmax_backward_op = {
    .name = "softmax_backward",
    .signature = "dy:real[...] y:real[...] -> dx[...]",
    .kernel = kernels::softmax_backward,
};

Tensor softmax(Tensor x) { return x.graph->append(softmax_op, {x})[0]; }

}  // namespace ggq
