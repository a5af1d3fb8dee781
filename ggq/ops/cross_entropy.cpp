// Sum of token losses: log-sum-exp minus the label's logit.
#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cuda/workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void cross_entropy_gradient(Gradients& g) {
    g.set(0, g.graph().append(cross_entropy_backward_op, {g.dy(), g.in(0), g.in(1), g.out(1)})[0]);
}

}  // namespace

const OpDef cross_entropy_op = {
    .name = "cross_entropy",
    .signature = "logits:real[T,V] labels:i32[T] -> loss:stat[1] lse:stat[T]",
    .gradient = cross_entropy_gradient,
    .cuda_workspace = [](const OpCall& c,
                         const cuda::Device&) { return cuda::cross_entropy_workspace(c.in[0].shape[0]); },
    .kernel = kernels::cross_entropy,
};

const OpDef cross_entropy_backward_op = {
    .name = "cross_entropy_backward",
    .signature = "dloss:float[1] logits:real[T,V] labels:i32[T] lse:stat[T] -> dlogits[T,V]",
    .kernel = kernels::cross_entropy_backward,
};

Tensor cross_entropy(Tensor logits, Tensor labels) {
    return logits.graph->append(cross_entropy_op, {logits, labels})[0];
}

}  // namespace ggq
