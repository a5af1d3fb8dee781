// Sums over all elements, in a fixed order.
#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cuda/workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void sum_gradient(Gradients& g) { g.set(0, broadcast(g.dy(), g.in(0).shape(), 1)); }

int64_t sums_of_chunks(const OpCall& call, const cuda::Device&) {
    return cuda::reduce_workspace(call.in[0].shape.n_elems());
}

}  // namespace

const OpDef sum_op = {
    .name = "sum",
    .signature = "x:real[...] -> y[1]",
    .gradient = sum_gradient,
    .cuda_workspace = sums_of_chunks,
    .kernel = kernels::sum,
};

const OpDef global_norm_op = {
    .name = "global_norm",
    .signature = "x:real[...] -> norm[1]",
    .cuda_workspace = sums_of_chunks,
    .kernel = kernels::global_norm,
};

const OpDef clip_factor_op = {
    .name = "clip_factor",
    .signature = "norm:real[1] -> factor[1]",
    .kernel = kernels::clip_factor,
};

Tensor sum(Tensor x) { return x.graph->append(sum_op, {x})[0]; }
Tensor mean(Tensor x) { return scale(sum(x), 1.0 / static_cast<double>(x.shape().n_elems())); }
Tensor global_norm(Tensor x) { return x.graph->append(global_norm_op, {x})[0]; }
Tensor clip_factor(Tensor norm, float max_norm) {
    return norm.graph->append(clip_factor_op, {norm}, ClipParams{max_norm})[0];
}

}  // namespace ggq
