// Dense products: y[m,n] = x[m,k] w[n,k]^T. Transposed views of either operand cost nothing extra.
#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cpu/workspace.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void matmul_gradient(Gradients& g) {
    if (g.needs(0)) g.set(0, matmul(g.dy(), transpose(g.in(1), 0, 1)));
    if (g.needs(1)) g.set(1, matmul(transpose(g.dy(), 0, 1), transpose(g.in(0), 0, 1)));
}

double matmul_flops(const OpCall& call) {
    return 2.0 * static_cast<double>(call.in[0].shape.n_elems()) * static_cast<double>(call.in[1].shape[0]);
}

}  // namespace

const OpDef matmul_op = {
    .name = "matmul",
    .signature = "x~~:real[M,K] w~~:float[N,K] -> y[M,N]",
    .gradient = matmul_gradient,
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            return cpu::matmul_workspace(c.in[0].shape[0], c.in[0].shape[1], n_threads, real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            const Shape &x = c.in[0].shape, &w = c.in[1].shape;
            return cuda::product_workspace(x[0], w[0], x[1], c.in[0].dtype, c.in[1].dtype, device);
        },
    .flops = matmul_flops,
    .kernel = kernels::matmul,
};

Tensor matmul(Tensor x, Tensor w) { return x.graph->append(matmul_op, {x, w})[0]; }

Tensor linear(Tensor x, Tensor w) { return info(w.dtype()).quantized ? quant_matmul(x, w) : matmul(x, w); }

}  // namespace ggq
