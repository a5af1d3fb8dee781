// The head and its loss in one op, so that logits exist a chunk at a time. The forward pass leaves the gradients of the
// plain sum of losses as outputs; the gradient rule only scales them.
#include "ggq/backward.h"
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cpu/workspace.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void linear_cross_entropy_gradient(Gradients& g) {
    const HeadGradient have = g.param<LinearCrossEntropyParams>().gradient;
    require((!g.needs(0) || have >= HeadGradient::input) && (!g.needs(1) || have == HeadGradient::input_and_weight),
            "[linear_cross_entropy] a gradient is wanted that the forward pass was not told to compute");
    if (g.needs(0)) g.set(0, scale_by(g.out(1), g.dy()));
    if (g.needs(1)) g.set(1, scale_by(g.out(2), g.dy()));
}

double linear_cross_entropy_flops(const OpCall& call) {
    const double product =
        2.0 * static_cast<double>(call.in[0].shape.n_elems()) * static_cast<double>(call.in[1].shape[0]);
    return product * static_cast<double>(call.out.size());
}

}  // namespace

const OpDef linear_cross_entropy_op = {
    .name = "linear_cross_entropy",
    .signature = "x:real[T,C] w:weight[V,C] labels:i32[T] -> loss:stat[1] dx?[T,C] dw?:stat[V,C]",
    .gradient = linear_cross_entropy_gradient,
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            const Shape &x = c.in[0].shape, &w = c.in[1].shape;
            return cpu::linear_cross_entropy_workspace(x[0], x[1], w[0], c.param<LinearCrossEntropyParams>(), n_threads,
                                                       real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            const Shape &x = c.in[0].shape, &w = c.in[1].shape;
            return cuda::linear_cross_entropy_workspace(x[0], x[1], w[0], c.in[0].dtype, c.in[1].dtype,
                                                        c.param<LinearCrossEntropyParams>(), device);
        },
    .flops = linear_cross_entropy_flops,
    .kernel = kernels::linear_cross_entropy,
};

Tensor linear_cross_entropy(Tensor x, Tensor w, Tensor labels, HeadGradient gradient, int chunk) {
    return x.graph->append(linear_cross_entropy_op, {x, w, labels}, LinearCrossEntropyParams{gradient, chunk},
                           1 + static_cast<int>(gradient))[0];
}

}  // namespace ggq
