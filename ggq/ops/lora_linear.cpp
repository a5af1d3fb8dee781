// A frozen linear layer with a trainable low-rank update (Hu et al., 2021), y = x w^T + s xa b^T with
// xa = dropout(x) a^T. Linears that share x get their xa from one step, each with a mask of its own, so that x is read
// once; and so do their gradients.
#include <algorithm>

#include "ggq/backward.h"
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cpu/workspace.h"
#include "kernels/cuda/lora_workspace.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

// As lora_linear gives it, or, from any other op, widened.
Tensor in_full(Tensor dxa) {
    const DType stat = dxa.dtype() == DType::f64 ? DType::f64 : DType::f32;
    return dxa.dtype() == stat ? dxa : cast(dxa, stat);
}

// What adds into x comes last, so that the sum grows in place.
void lora_down_gradient(Gradients& g) {
    const auto n = static_cast<int>(g.step().out.size());
    std::vector<Tensor> in{g.in(0), g.in(1)}, into_x{g.so_far(0), g.in(1)};
    for (int i = 0; i < n; ++i) into_x.push_back(g.in(2 + i));
    for (int i = 0; i < n; ++i) {
        in.push_back(in_full(g.dy(i)));
        into_x.push_back(in.back());
    }
    const std::vector<Tensor> da = g.graph().append(lora_down_backward_op, in, g.step().params);
    for (int i = 0; i < n; ++i) g.set(2 + i, da[static_cast<size_t>(i)]);
    if (!g.needs(0)) return;
    if (!into_x[0]) into_x[0] = full(g.graph(), g.in(0).type(), 0);
    g.set_total(0, g.graph().append(lora_down_input_gradient_op, into_x, g.step().params)[0]);
}

void lora_linear_gradient(Gradients& g) {
    require(!g.needs(1), "[lora_linear] {} input w: is frozen, but a gradient of '{}' is wanted; use matmul",
            g.graph().scope_of(g.step()), g.in(1).name());
    const auto d = g.graph().append(lora_linear_backward_op, {g.dy(), g.in(2), g.in(3)}, g.step().params);
    g.set(2, d[0]);
    g.set(3, d[1]);
    set_linear_input_gradient(g);
    if (g.step().in.size() > 4 && g.needs(4)) g.set(4, g.dy());
}

double elems(const TensorType& t) { return static_cast<double>(t.shape.n_elems()); }

// Of x[M,K] and matrices of so many rows R in all.
double low_rank_flops(const TensorType& x, int64_t rank) { return 2 * elems(x) * static_cast<double>(rank); }

cuda::LowRankShape low_rank_shape(const OpCall& c, size_t n, int64_t rank) {
    return {.m = c.in[0].shape[0],
            .k = c.in[0].shape[1],
            .rank = rank,
            .n = static_cast<int>(n),
            .real = c.in[0].dtype,
            .dropout = c.param<DropoutParams>().p};
}

int64_t rank_of_gradients(const OpCall& c) { return c.in.back().shape[1]; }

}  // namespace

const OpDef lora_down_op = {
    .name = "lora_down",
    .signature = "x:real[M,K] rng:i64[2] a+:float[R,K] -> xa+[M,R]",
    .gradient = lora_down_gradient,
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            return cpu::product_workspace(c.in[0].shape[0], c.in[0].shape[1], 1, n_threads, real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            const cuda::LowRankShape shape = low_rank_shape(c, c.out.size(), c.in[2].shape[0]);
            return cuda::lora_down_workspace(shape, c.in[2].dtype, device);
        },
    .flops = [](const OpCall& c) { return low_rank_flops(c.in[0], c.in[2].shape[0] * std::ssize(c.out)); },
    .kernel = kernels::lora_down,
};

const OpDef lora_down_backward_op = {
    .name = "lora_down_backward",
    .signature = "x:real[M,K] rng:i64[2] dxa+:stat[M,R] -> da+:stat[R,K]",
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            return cpu::product_workspace(rank_of_gradients(c), c.in[0].shape[0], 1, n_threads, real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            return cuda::lora_down_backward_workspace(low_rank_shape(c, c.out.size(), rank_of_gradients(c)), device);
        },
    .flops = [](const OpCall& c) { return low_rank_flops(c.in[0], rank_of_gradients(c) * std::ssize(c.out)); },
    .kernel = kernels::lora_down_backward,
};

const OpDef lora_down_input_gradient_op = {
    .name = "lora_down_input_gradient",
    .signature = "sum:real[M,K] rng:i64[2] a+:float[R,K] dxa+:stat[M,R] -> dx[M,K]",
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            return cpu::product_workspace(c.in[0].shape[0], rank_of_gradients(c), 1, n_threads, real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            const cuda::LowRankShape shape = low_rank_shape(c, (c.in.size() - 2) / 2, rank_of_gradients(c));
            return cuda::lora_down_input_gradient_workspace(shape, c.in[2].dtype, device);
        },
    .flops = [](const OpCall& c) { return low_rank_flops(c.in[0], rank_of_gradients(c) * (std::ssize(c.in) - 2) / 2); },
    .over_input = 0,
    .kernel = kernels::lora_down_input_gradient,
};

const OpDef lora_linear_op = {
    .name = "lora_linear",
    .signature = "x:real[M,K] w:weight[N,K] xa:real[M,R] b:float[N,R] sum?:real[M,N] -> y[M,N]",
    .gradient = lora_linear_gradient,
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            const Shape &x = c.in[0].shape, &xa = c.in[2].shape;
            return cpu::product_workspace(x[0], x[1] + xa[1], 2, n_threads, real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            const Shape &x = c.in[0].shape, &w = c.in[1].shape, &xa = c.in[2].shape;
            return cuda::lora_linear_workspace({.m = x[0],
                                                .n = w[0],
                                                .k = w[1],
                                                .rank = xa[1],
                                                .real = c.in[0].dtype,
                                                .w = c.in[1].dtype,
                                                .b = c.in[3].dtype},
                                               device);
        },
    .cuda_restores =
        [](const OpCall& c, const cuda::Device& device) {
            const Shape &x = c.in[0].shape, &w = c.in[1].shape;
            const DType type = c.in[1].dtype;
            return info(type).quantized && cuda::multiplies_restored(x[0], w[0], x[1], c.in[0].dtype, type, device)
                       ? 1
                       : -1;
        },
    .flops =
        [](const OpCall& c) { return 2 * elems(c.out[0]) * static_cast<double>(c.in[0].shape[1] + c.in[2].shape[1]); },
    .kernel = kernels::lora_linear,
};

const OpDef lora_linear_backward_op = {
    .name = "lora_linear_backward",
    .signature = "dy:real[M,N] xa:real[M,R] b:float[N,R] -> dxa:stat[M,R] db:stat[N,R]",
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            const Shape& dy = c.in[0].shape;
            return std::max(cpu::product_workspace(dy[0], dy[1], 1, n_threads, real_bytes(c)),
                            cpu::product_workspace(dy[1], dy[0], 1, n_threads, real_bytes(c)));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            const Shape& dy = c.in[0].shape;
            const cuda::LowRankShape shape{
                .m = dy[0], .k = dy[1], .rank = c.in[1].shape[1], .n = 1, .real = c.in[0].dtype};
            return cuda::lora_linear_backward_workspace(shape, c.in[2].dtype, device);
        },
    .flops = [](const OpCall& c) { return 2 * low_rank_flops(c.in[0], c.in[1].shape[1]); },
    .kernel = kernels::lora_linear_backward,
};

std::vector<Tensor> lora_down(Tensor x, Tensor rng, const std::vector<Tensor>& a, const DropoutParams& dropout) {
    std::vector<Tensor> in{x, rng};
    in.insert(in.end(), a.begin(), a.end());
    return x.graph->append(lora_down_op, in, dropout);
}

Tensor lora_linear(Tensor x, Tensor w, Tensor xa, Tensor b, double scaling, Tensor sum) {
    std::vector<Tensor> in{x, w, xa, b};
    if (sum) in.push_back(sum);
    return x.graph->append(lora_linear_op, in, ScaleParams{scaling})[0];
}

}  // namespace ggq
