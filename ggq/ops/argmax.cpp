// The likeliest token of each row of logits, so that no more than its number has to leave the device.
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cuda/workspace.h"
#include "kernels/kernels.h"

namespace ggq {

const OpDef argmax_op = {
    .name = "argmax",
    .signature = "x:real[T,V] -> id:i32[T]",
    .cuda_workspace = [](const OpCall& c, const cuda::Device&) { return cuda::argmax_workspace(c.in[0].shape[0]); },
    .kernel = kernels::argmax,
};

Tensor argmax(Tensor x, int64_t n) {
    const int64_t width = x.shape().rank == 2 ? x.shape()[1] : 0;
    require(n >= 0 && n <= width && width > 0, "[argmax] x: expected [T,V] with V of at least {}, got {}",
            n > 0 ? n : 1, to_string(x.shape()));
    return x.graph->append(argmax_op, {x}, ArgmaxParams{n > 0 ? n : width})[0];
}

}  // namespace ggq
