// Choosing the next tokens where the logits are, so that nothing but their numbers has to leave the device.
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cpu/workspace.h"
#include "kernels/cuda/workspace.h"
#include "kernels/kernels.h"

namespace ggq {

const OpDef sample_op = {
    .name = "sample",
    .signature =
        "logits:real[T,V] rows:i32[T] settings:f32[R,8] seeds:i64[R] positions:i32[R] log:i32[R,S] -> token:i32[T]",
    .cpu_workspace = [](const OpCall& c, int n_threads) { return cpu::sample_workspace(c.in[0].shape[1], n_threads); },
    .cuda_workspace = [](const OpCall& c, const cuda::Device&) { return cuda::sample_workspace(c.in[0].shape[0]); },
    .bytes = [](const OpCall& c) { return c.in[0].bytes(); },  // of the log some dozens
    .kernel = kernels::sample,
};

Tensor sample(Tensor logits, Tensor rows, const Sampling& of) {
    return logits.graph->append(sample_op, {logits, rows, of.settings, of.seeds, of.positions, of.log})[0];
}

}  // namespace ggq
