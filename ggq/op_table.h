// The rows of all ops, each defined in ggq/ops/<family>.cpp.
#pragma once

#include "ggq/op.h"

namespace ggq {

extern const OpDef embedding_op, embedding_backward_op;
extern const OpDef rms_norm_op, rms_norm_backward_op;
extern const OpDef matmul_op;
extern const OpDef quant_matmul_op, quant_matmul_backward_op;
extern const OpDef lora_linear_op, lora_linear_backward_op;
extern const OpDef rope_op;
extern const OpDef attention_op, attention_backward_op, cache_write_op;
extern const OpDef silu_op, silu_backward_op, swiglu_op, swiglu_backward_op;
extern const OpDef add_op, mul_op, scale_op, scale_by_op, broadcast_op, full_op, accumulate_op, fill_op;
extern const OpDef cast_op;
extern const OpDef softmax_op, softmax_backward_op;
extern const OpDef sum_op, global_norm_op, clip_factor_op;
extern const OpDef dropout_op;
extern const OpDef reshape_op, transpose_op, slice_op, slice_backward_op, copy_op;
extern const OpDef cross_entropy_op, cross_entropy_backward_op;
extern const OpDef linear_cross_entropy_op;
extern const OpDef adamw_op, adamw_8bit_op;
extern const OpDef quantize_op, dequantize_op;

}  // namespace ggq
