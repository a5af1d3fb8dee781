// Root-mean-square normalization over the last dimension (Zhang and Sennrich, 2019).
#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cuda/workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void rms_norm_gradient(Gradients& g) {
    const int n_out = g.needs(1) ? 2 : 1;
    std::vector<Tensor> in{g.dy(), g.in(0), g.in(1), g.out(1)};
    if (const Tensor sum = g.so_far(0); sum && g.needs(0)) in.push_back(sum);
    const auto d = g.graph().append(rms_norm_backward_op, in, {}, n_out);
    if (g.needs(0)) g.set_total(0, d[0]);
    if (g.needs(1)) g.set(1, d[1]);
}

}  // namespace

const OpDef rms_norm_op = {
    .name = "rms_norm",
    .signature = "x:real[T,C] w:float[C] -> y[T,C] rstd:stat[T]",
    .gradient = rms_norm_gradient,
    .kernel = kernels::rms_norm,
};

const OpDef rms_norm_backward_op = {
    .name = "rms_norm_backward",
    .signature = "dy:real[T,C] x:real[T,C] w:float[C] rstd:stat[T] sum?:real[T,C] -> dx[T,C] dw?:stat[C]",
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device&) {
            const Shape& x = c.in[1].shape;
            return cuda::rms_norm_backward_workspace(x[0], x[1], c.out.size() > 1);
        },
    .over_input = 4,
    .kernel = kernels::rms_norm_backward,
};

Tensor rms_norm(Tensor x, Tensor w, float eps) { return x.graph->append(rms_norm_op, {x, w}, RmsNormParams{eps})[0]; }

}  // namespace ggq
