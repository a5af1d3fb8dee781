// Linear layers with what stands around them in a model, for generating text: a launch each where a device has such
// kernels. They have no gradient.
#include <algorithm>

#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/composed_workspace.h"
#include "kernels/cpu/workspace.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

// The products x[m,k] w^T of a call, x and the first w being inputs `x` and `first`.
int64_t products_on_cuda(const OpCall& c, size_t x, size_t first, const cuda::Device& device) {
    const Shape& rows = c.in[x].shape;
    int64_t bytes = 0;
    for (size_t i = first; i < c.in.size(); ++i)
        bytes = std::max(
            bytes, cuda::product_workspace(rows[0], c.in[i].shape[0], rows[1], c.in[x].dtype, c.in[i].dtype, device));
    return bytes;
}

int64_t products_on_cpu(const OpCall& c, size_t x, int n_threads) {
    return cpu::matmul_workspace(c.in[x].shape[0], c.in[x].shape[1], n_threads, real_bytes(c));
}

double products_flops(const OpCall& c, size_t x, size_t first) {
    double n_weights = 0;
    for (size_t i = first; i < c.in.size(); ++i) n_weights += static_cast<double>(c.in[i].shape.n_elems());
    return 2 * static_cast<double>(c.in[x].shape[0]) * n_weights;
}

int64_t norm_bytes(const OpCall& c) { return composed_norm_bytes(c.in[0].shape[0], c.in[0].shape[1], real_bytes(c)); }
int64_t output_bytes(const OpCall& c) { return composed_bytes(c.out[0].bytes()); }

}  // namespace

const OpDef norm_qkv_op = {
    .name = "norm_qkv",
    .signature = "x:real[T,C] norm:float[C] wq:weight[N,C] wk:weight[G,C] wv:weight[G,C] -> q[T,N] k[T,G] v[T,G]",
    .cpu_workspace = [](const OpCall& c, int n_threads) { return norm_bytes(c) + products_on_cpu(c, 0, n_threads); },
    .cuda_workspace = [](const OpCall& c,
                         const cuda::Device& d) { return norm_bytes(c) + products_on_cuda(c, 0, 2, d); },
    .flops = [](const OpCall& c) { return products_flops(c, 0, 2); },
    .kernel = kernels::norm_qkv,
};

const OpDef norm_swiglu_op = {
    .name = "norm_swiglu",
    .signature = "x:real[T,C] norm:float[C] gate:weight[N,C] up:weight[N,C] -> y[T,N]",
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            return norm_bytes(c) + 2 * output_bytes(c) + products_on_cpu(c, 0, n_threads);
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& d) {
            return norm_bytes(c) + 2 * output_bytes(c) + products_on_cuda(c, 0, 2, d);
        },
    .flops = [](const OpCall& c) { return products_flops(c, 0, 2); },
    .kernel = kernels::norm_swiglu,
};

const OpDef add_linear_op = {
    .name = "add_linear",
    .signature = "r:real[T,N] x:real[T,C] w:weight[N,C] -> y[T,N]",
    .cpu_workspace = [](const OpCall& c, int n_threads) { return output_bytes(c) + products_on_cpu(c, 1, n_threads); },
    .cuda_workspace = [](const OpCall& c,
                         const cuda::Device& d) { return output_bytes(c) + products_on_cuda(c, 1, 2, d); },
    .flops = [](const OpCall& c) { return products_flops(c, 1, 2); },
    .kernel = kernels::add_linear,
};

Qkv norm_qkv(Tensor x, Tensor norm, Tensor wq, Tensor wk, Tensor wv, float eps) {
    const auto out = x.graph->append(norm_qkv_op, {x, norm, wq, wk, wv}, RmsNormParams{eps});
    return {out[0], out[1], out[2]};
}

Tensor norm_swiglu(Tensor x, Tensor norm, Tensor gate, Tensor up, float eps) {
    return x.graph->append(norm_swiglu_op, {x, norm, gate, up}, RmsNormParams{eps})[0];
}

Tensor add_linear(Tensor r, Tensor x, Tensor w) { return x.graph->append(add_linear_op, {r, x, w})[0]; }

}  // namespace ggq
