// A frozen linear layer with a trainable low-rank update (Hu et al., 2021): y = x w^T + s (dropout(x) a^T) b^T.
#include <span>

#include "ggq/backward.h"
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cpu/workspace.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void lora_linear_gradient(Gradients& g) {
    require(!g.needs(1), "[lora_linear] {} input w: is frozen, but a gradient of '{}' is wanted; use matmul",
            g.graph().scope_of(g.step()), g.in(1).name());
    const auto d =
        g.graph().append(lora_linear_backward_op, {g.dy(), g.in(0), g.in(1), g.in(2), g.in(3), g.out(1), g.in(4)},
                         g.step().params, g.needs(0) ? 3 : 2);
    g.set(2, d[0]);
    g.set(3, d[1]);
    if (g.needs(0)) g.set(0, d[2]);
}

double product_flops(const Shape& x, const Shape& w, const Shape& a, double n_base, double n_low_rank) {
    const auto m = static_cast<double>(x[0]);
    return 2 * m * (n_base * static_cast<double>(w.n_elems()) + n_low_rank * static_cast<double>(a[0] * (w[0] + w[1])));
}

cuda::LoraShape lora_shape(std::span<const TensorType> x_w_a_b, const LoraParams& params) {
    const TensorType &x = x_w_a_b[0], &w = x_w_a_b[1], &a = x_w_a_b[2], &b = x_w_a_b[3];
    return {.m = x.shape[0],
            .n = w.shape[0],
            .k = w.shape[1],
            .rank = a.shape[0],
            .real = x.dtype,
            .w = w.dtype,
            .a = a.dtype,
            .b = b.dtype,
            .masked = params.dropout.p > 0};
}

}  // namespace

const OpDef lora_linear_op = {
    .name = "lora_linear",
    .signature = "x:real[M,K] w:weight[N,K] a:float[R,K] b:float[N,R] rng:i64[2] -> y[M,N] xa[M,R]",
    .gradient = lora_linear_gradient,
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            const Shape &x = c.in[0].shape, &a = c.in[2].shape;
            return cpu::lora_linear_workspace(x[0], x[1], a[0], n_threads, real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            return cuda::lora_linear_workspace(lora_shape(c.in, c.param<LoraParams>()), device);
        },
    .flops = [](const OpCall& c) { return product_flops(c.in[0].shape, c.in[1].shape, c.in[2].shape, 1, 1); },
    .kernel = kernels::lora_linear,
};

const OpDef lora_linear_backward_op = {
    .name = "lora_linear_backward",
    .signature =
        "dy:real[M,N] x:real[M,K] w:weight[N,K] a:float[R,K] b:float[N,R] xa:real[M,R] rng:i64[2] -> "
        "da:stat[R,K] db:stat[N,R] dx?[M,K]",
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            const Shape &dy = c.in[0].shape, &a = c.in[3].shape;
            return cpu::lora_linear_backward_workspace(dy[0], dy[1], a[0], n_threads, real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            const cuda::LoraShape shape = lora_shape(c.in.subspan(1), c.param<LoraParams>());
            return cuda::lora_linear_backward_workspace(shape, c.out.size() > 2, device);
        },
    .flops =
        [](const OpCall& c) {
            return product_flops(c.in[1].shape, c.in[2].shape, c.in[3].shape, c.out.size() > 2 ? 1 : 0, 2);
        },
    .kernel = kernels::lora_linear_backward,
};

Tensor lora_linear(Tensor x, Tensor w, Tensor a, Tensor b, Tensor rng, const LoraParams& params) {
    return x.graph->append(lora_linear_op, {x, w, a, b, rng}, params)[0];
}

}  // namespace ggq
