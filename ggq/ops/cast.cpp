// Change of element type; every cast in a graph is one of these.
#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

std::vector<TensorType> cast_types(const OpCall& call) { return {{call.param<CastParams>().to, call.in[0].shape, {}}}; }

// A parameter takes its gradient as wide as it comes; values in between must match what the step before computes in.
void cast_gradient(Gradients& g) {
    const bool keeps = g.in(0).kind() == Kind::parameter && g.dy().dtype() == DType::f32;
    g.set(0, keeps ? g.dy() : cast(g.dy(), g.in(0).dtype()));
}

}  // namespace

const OpDef cast_op = {
    .name = "cast",
    .signature = "x:float[...] -> y[...]",
    .infer = cast_types,
    .gradient = cast_gradient,
    .kernel = kernels::cast,
};

Tensor cast(Tensor x, DType to) { return x.dtype() == to ? x : x.graph->append(cast_op, {x}, CastParams{to})[0]; }

}  // namespace ggq
