// Dropout whose mask is a function of (seed, counter, site, element): drawn anew it is the same mask.
#include "ggq/backward.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void dropout_gradient(Gradients& g) { g.set(0, dropout(g.dy(), g.in(1), g.param<DropoutParams>())); }

}  // namespace

const OpDef dropout_op = {
    .name = "dropout",
    .signature = "x:real[...] rng:i64[2] -> y[...]",
    .gradient = dropout_gradient,
    .kernel = kernels::dropout,
};

Tensor dropout(Tensor x, Tensor rng, const DropoutParams& params) {
    return x.graph->append(dropout_op, {x, rng}, params)[0];
}

}  // namespace ggq
