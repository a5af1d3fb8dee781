// SiLU and SwiGLU (Shazeer, "GLU variants improve transformer", 2020).
#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void silu_gradient(Gradients& g) { g.set(0, g.graph().append(silu_backward_op, {g.dy(), g.in(0)})[0]); }

void swiglu_gradient(Gradients& g) {
    const auto d = g.graph().append(swiglu_backward_op, {g.dy(), g.in(0), g.in(1)});
    if (g.needs(0)) g.set(0, d[0]);
    if (g.needs(1)) g.set(1, d[1]);
}

}  // namespace

const OpDef silu_op = {
    .name = "silu",
    .signature = "x:real[...] -> y[...]",
    .gradient = silu_gradient,
    .kernel = kernels::silu,
};

const OpDef silu_backward_op = {
    .name = "silu_backward",
    .signature = "dy:real[...] x:real[...] -> dx[...]",
    .kernel = kernels::silu_backward,
};

const OpDef swiglu_op = {
    .name = "swiglu",
    .signature = "gate:real[...] up:real[...] -> y[...]",
    .gradient = swiglu_gradient,
    .kernel = kernels::swiglu,
};

const OpDef swiglu_backward_op = {
    .name = "swiglu_backward",
    .signature = "dy:real[...] gate:real[...] up:real[...] -> dgate[...] dup[...]",
    .kernel = kernels::swiglu_backward,
};

Tensor silu(Tensor x) { return x.graph->append(silu_op, {x})[0]; }
Tensor swiglu(Tensor gate, Tensor up) { return gate.graph->append(swiglu_op, {gate, up})[0]; }

}  // namespace ggq
