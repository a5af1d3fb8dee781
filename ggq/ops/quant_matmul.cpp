// Products with a frozen block-quantized weight.
#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cpu/workspace.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void quant_matmul_gradient(Gradients& g) { set_linear_input_gradient(g); }

double quant_matmul_flops(const OpCall& call) {
    return 2.0 * static_cast<double>(call.in[0].shape[0]) * static_cast<double>(call.in[1].shape.n_elems());
}

}  // namespace

const OpDef quant_matmul_op = {
    .name = "quant_matmul",
    .signature = "x:real[M,K] w:quant[N,K] -> y[M,N]",
    .gradient = quant_matmul_gradient,
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            return cpu::matmul_workspace(c.in[0].shape[0], c.in[0].shape[1], n_threads, real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            const Shape &x = c.in[0].shape, &w = c.in[1].shape;
            return cuda::product_workspace(x[0], w[0], x[1], c.in[0].dtype, c.in[1].dtype, device);
        },
    .cuda_restores =
        [](const OpCall& c, const cuda::Device& device) {
            const Shape &x = c.in[0].shape, &w = c.in[1].shape;
            return cuda::multiplies_restored(x[0], w[0], x[1], c.in[0].dtype, c.in[1].dtype, device) ? 1 : -1;
        },
    .flops = quant_matmul_flops,
    .kernel = kernels::quant_matmul,
};

const OpDef linear_input_gradient_op = {
    .name = "linear_input_gradient",
    .signature = "dy:real[M,N] w:weight[N,K] sum?:real[M,K] -> dx[M,K]",
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            return cpu::linear_input_gradient_workspace(c.in[0].shape[0], c.in[0].shape[1], n_threads, real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            const Shape &dy = c.in[0].shape, &w = c.in[1].shape;
            return cuda::linear_input_gradient_workspace(dy[0], w[0], w[1], c.in[0].dtype, c.in[1].dtype, device);
        },
    .cuda_restores = [](const OpCall& c, const cuda::Device&) { return info(c.in[1].dtype).quantized ? 1 : -1; },
    .flops = quant_matmul_flops,
    .over_input = 2,
    .kernel = kernels::linear_input_gradient,
};

void set_linear_input_gradient(Gradients& g) {
    if (!g.needs(0)) return;
    std::vector<Tensor> in{g.dy(), g.in(1)};
    if (const Tensor sum = g.so_far(0)) in.push_back(sum);
    g.set_total(0, g.graph().append(linear_input_gradient_op, in)[0]);
}

Tensor quant_matmul(Tensor x, Tensor w) { return x.graph->append(quant_matmul_op, {x, w})[0]; }

}  // namespace ggq
