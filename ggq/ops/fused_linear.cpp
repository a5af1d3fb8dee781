// Linear layers with what stands around them in a model, for generating text: a launch each where a device has such
// kernels. They have no gradient.
#include <algorithm>

#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/composed_workspace.h"
#include "kernels/cpu/workspace.h"
#include "kernels/cuda/lora_workspace.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

// The products x[m,k] w^T of a call, x and the first w being inputs `x` and `first`: one by one, or all at once.
int64_t products_on_cuda(const OpCall& c, size_t x, size_t first, const cuda::Device& device) {
    const Shape& rows = c.in[x].shape;
    int64_t bytes = 0, n_tiles = 0;
    bool at_once = true;
    for (size_t i = first; i < c.in.size(); ++i) {
        const int64_t n = c.in[i].shape[0];
        const DType real = c.in[x].dtype, w = c.in[i].dtype;
        bytes = std::max(bytes, cuda::product_workspace(rows[0], n, rows[1], real, w, device));
        n_tiles += ceil_div(n, cuda::several_rows_tile(rows[0]));
        at_once = at_once && cuda::takes_several_rows(rows[0], n, rows[1], real, w, device);
    }
    return at_once ? std::max(bytes, cuda::several_rows_workspace(rows[0], n_tiles, device)) : bytes;
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

namespace {

// The adapters that stand from input `first` on belong to the weights from `w` on.
cuda::LoraShape lora_shape(const OpCall& c, size_t x, size_t w, size_t first, size_t i) {
    const TensorType &rows = c.in[x], &weight = c.in[w + i], &a = c.in[first + 2 * i], &b = c.in[first + 2 * i + 1];
    return {.m = rows.shape[0],
            .n = weight.shape[0],
            .k = weight.shape[1],
            .rank = a.shape[0],
            .real = rows.dtype,
            .w = weight.dtype,
            .b = b.dtype};
}

// Room for x a^T of each in the computing type, and what the largest lora_down and lora_linear want.
int64_t adapted_on_cuda(const OpCall& c, size_t x, size_t w, size_t first, const cuda::Device& device) {
    int64_t kept = 0, wanted = 0;
    for (size_t i = 0; first + 2 * i < c.in.size(); ++i) {
        const cuda::LoraShape s = lora_shape(c, x, w, first, i);
        kept += composed_bytes(s.m * s.rank * info(s.real).bytes);
        const cuda::LowRankShape down{.m = s.m, .k = s.k, .rank = s.rank, .real = s.real};
        wanted = std::max({wanted, cuda::lora_linear_workspace(s, device),
                           cuda::lora_down_workspace(down, c.in[first + 2 * i].dtype, device)});
    }
    return kept + wanted;
}

int64_t adapted_on_cpu(const OpCall& c, size_t x, size_t w, size_t first, int n_threads) {
    int64_t kept = 0, wanted = 0;
    for (size_t i = 0; first + 2 * i < c.in.size(); ++i) {
        const cuda::LoraShape s = lora_shape(c, x, w, first, i);
        kept += composed_bytes(s.m * s.rank * real_bytes(c));
        wanted = std::max(wanted, cpu::product_workspace(s.m, s.k + s.rank, 2, n_threads, real_bytes(c)));
    }
    return kept + wanted;
}

}  // namespace

const OpDef lora_norm_qkv_op = {
    .name = "lora_norm_qkv",
    .signature =
        "x:real[T,C] norm:float[C] wq:weight[N,C] wk:weight[G,C] wv:weight[G,C] aq:float[Q,C] bq:float[N,Q] "
        "ak:float[K,C] bk:float[G,K] av:float[V,C] bv:float[G,V] -> q[T,N] k[T,G] v[T,G]",
    .cpu_workspace = [](const OpCall& c, int n) { return norm_bytes(c) + adapted_on_cpu(c, 0, 2, 5, n); },
    .cuda_workspace = [](const OpCall& c,
                         const cuda::Device& d) { return norm_bytes(c) + adapted_on_cuda(c, 0, 2, 5, d); },
    .flops = [](const OpCall& c) { return products_flops(c, 0, 2); },
    .kernel = kernels::lora_norm_qkv,
};

const OpDef lora_norm_swiglu_op = {
    .name = "lora_norm_swiglu",
    .signature =
        "x:real[T,C] norm:float[C] gate:weight[N,C] up:weight[N,C] ag:float[R,C] bg:float[N,R] au:float[U,C] "
        "bu:float[N,U] -> y[T,N]",
    .cpu_workspace = [](const OpCall& c,
                        int n) { return norm_bytes(c) + 2 * output_bytes(c) + adapted_on_cpu(c, 0, 2, 4, n); },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& d) {
            return norm_bytes(c) + 2 * output_bytes(c) + adapted_on_cuda(c, 0, 2, 4, d);
        },
    .flops = [](const OpCall& c) { return products_flops(c, 0, 2); },
    .kernel = kernels::lora_norm_swiglu,
};

const OpDef lora_add_linear_op = {
    .name = "lora_add_linear",
    .signature = "r:real[T,N] x:real[T,C] w:weight[N,C] a:float[R,C] b:float[N,R] -> y[T,N]",
    .cpu_workspace = [](const OpCall& c, int n) { return output_bytes(c) + adapted_on_cpu(c, 1, 2, 3, n); },
    .cuda_workspace = [](const OpCall& c,
                         const cuda::Device& d) { return output_bytes(c) + adapted_on_cuda(c, 1, 2, 3, d); },
    .flops = [](const OpCall& c) { return products_flops(c, 1, 2); },
    .kernel = kernels::lora_add_linear,
};

Qkv lora_norm_qkv(Tensor x, Tensor norm, const Adapted& q, const Adapted& k, const Adapted& v, float eps) {
    const auto out = x.graph->append(lora_norm_qkv_op, {x, norm, q.w, k.w, v.w, q.a, q.b, k.a, k.b, v.a, v.b},
                                     AdaptedParams{eps, {q.scaling, k.scaling, v.scaling}});
    return {out[0], out[1], out[2]};
}

Tensor lora_norm_swiglu(Tensor x, Tensor norm, const Adapted& gate, const Adapted& up, float eps) {
    return x.graph->append(lora_norm_swiglu_op, {x, norm, gate.w, up.w, gate.a, gate.b, up.a, up.b},
                           AdaptedParams{eps, {gate.scaling, up.scaling}})[0];
}

Tensor lora_add_linear(Tensor r, Tensor x, const Adapted& l) {
    return x.graph->append(lora_add_linear_op, {r, x, l.w, l.a, l.b}, AdaptedParams{0, {l.scaling}})[0];
}

Qkv norm_qkv(Tensor x, Tensor norm, Tensor wq, Tensor wk, Tensor wv, float eps) {
    const auto out = x.graph->append(norm_qkv_op, {x, norm, wq, wk, wv}, RmsNormParams{eps});
    return {out[0], out[1], out[2]};
}

Tensor norm_swiglu(Tensor x, Tensor norm, Tensor gate, Tensor up, float eps) {
    return x.graph->append(norm_swiglu_op, {x, norm, gate, up}, RmsNormParams{eps})[0];
}

Tensor add_linear(Tensor r, Tensor x, Tensor w) { return x.graph->append(add_linear_op, {r, x, w})[0]; }

}  // namespace ggq
