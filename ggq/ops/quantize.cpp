// To and from the block formats of kernels/formats.h.
#include "ggq/backward.h"
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/cpu/workspace.h"
#include "kernels/cuda/workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

std::vector<TensorType> quantize_types(const OpCall& call) {
    const auto& p = call.param<QuantizeParams>();
    require(info(p.to).quantized && !is_packed(p.to), "[quantize] expected one of nf4, fp4, int8, got {}", name(p.to));
    require(is_quant_block(p.spec.block), "[quantize] expected a block of 64, 128 or 256, got {}", p.spec.block);
    return {{p.to, call.in[0].shape, p.spec}};
}

std::vector<TensorType> dequantize_types(const OpCall& call) {
    return {{call.param<CastParams>().to, call.in[0].shape, {}}};
}

}  // namespace

const OpDef quantize_op = {
    .name = "quantize",
    .signature = "x:float[...] -> q[...]",
    .infer = quantize_types,
    .cpu_workspace =
        [](const OpCall& c, int) {
            const auto& p = c.param<QuantizeParams>();
            return cpu::quantize_workspace(p.to, c.in[0].shape.n_elems(), p.spec.block, p.spec.double_quant);
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device&) {
            const auto& p = c.param<QuantizeParams>();
            return cuda::quantize_workspace(p.to, c.in[0].shape.n_elems(), p.spec.block, p.spec.double_quant);
        },
    .kernel = kernels::quantize,
};

const OpDef dequantize_op = {
    .name = "dequantize",
    .signature = "q:quant[...] -> y[...]",
    .infer = dequantize_types,
    .kernel = kernels::dequantize,
};

Tensor quantize(Tensor x, DType to, QuantSpec spec) {
    return x.graph->append(quantize_op, {x}, QuantizeParams{to, spec})[0];
}

Tensor dequantize(Tensor q, DType to) { return q.graph->append(dequantize_op, {q}, CastParams{to})[0]; }

}  // namespace ggq
