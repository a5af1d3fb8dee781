// Rotary position embedding (Su et al., 2021), half-split as Hugging Face lays heads out. How far each pair turns is
// in the frequency table, so default, linear and llama3 scaling are all the same op.
#include "ggq/backward.h"
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

// A rotation's transpose is the rotation back.
void rope_gradient(Gradients& g) {
    const RopeParams back{!g.param<RopeParams>().inverse};
    g.set(0, g.graph().append(rope_op, {g.dy(), g.in(1), g.in(2)}, back)[0]);
}

}  // namespace

const OpDef rope_op = {
    .name = "rope",
    .signature = "x~:real[T,H,D] positions:i32[T] frequencies:f32[D/2] -> y[T,H,D]",
    .gradient = rope_gradient,
    .kernel = kernels::rope,
};

Tensor rope(Tensor x, Tensor positions, Tensor frequencies) {
    require(x.shape().rank == 3 && x.shape()[2] % 2 == 0, "[rope] x: expected an even head size, got {}",
            to_string(x.shape()));
    return x.graph->append(rope_op, {x, positions, frequencies}, RopeParams{})[0];
}

}  // namespace ggq
