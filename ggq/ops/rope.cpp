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
    const bool has_k = g.step().out.size() > 1;
    std::vector<Tensor> in{g.dy(), g.in(1), g.in(2)};
    if (has_k) in.push_back(g.dy(1));
    const std::vector<Tensor> dx = g.graph().append(rope_op, in, back, has_k ? 2 : 1);
    g.set(0, dx[0]);
    if (has_k) g.set(3, dx[1]);
}

}  // namespace

const OpDef rope_op = {
    .name = "rope",
    .signature = "x~:real[T,H,D] positions:i32[T] frequencies:f32[D/2] k?~:real[T,G,D] -> y[T,H,D] turned_k?[T,G,D]",
    .gradient = rope_gradient,
    .kernel = kernels::rope,
};

namespace {

void check_heads(Tensor x) {
    require(x.shape().rank == 3 && x.shape()[2] % 2 == 0, "[rope] x: expected an even head size, got {}",
            to_string(x.shape()));
}

}  // namespace

Tensor rope(Tensor x, Tensor positions, Tensor frequencies) {
    check_heads(x);
    return x.graph->append(rope_op, {x, positions, frequencies}, RopeParams{})[0];
}

Rotated rope(Tensor q, Tensor k, Tensor positions, Tensor frequencies) {
    check_heads(q);
    const std::vector<Tensor> y = q.graph->append(rope_op, {q, positions, frequencies, k}, RopeParams{}, 2);
    return {y[0], y[1]};
}

}  // namespace ggq
