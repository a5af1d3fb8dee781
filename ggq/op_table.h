// The rows of all ops, each defined in ggq/ops/<family>.cpp. This list is the op table: X(name) is the row name_op.
#pragma once

#include "ggq/op.h"

// clang-format off
#define GGQ_OPS(X)                                                                \
    X(embedding) X(embedding_backward)                                            \
    X(rms_norm) X(rms_norm_backward)                                              \
    X(matmul)                                                                     \
    X(quant_matmul) X(linear_input_gradient)                                      \
    X(lora_down) X(lora_down_backward) X(lora_down_input_gradient)                \
    X(lora_linear) X(lora_linear_backward)                                        \
    X(norm_qkv) X(norm_swiglu) X(add_linear)                                      \
    X(lora_norm_qkv) X(lora_norm_swiglu) X(lora_add_linear)                       \
    X(rope)                                                                       \
    X(attention) X(attention_backward) X(cache_write) X(cached_attention)         \
    X(window_spans)                                                               \
    X(sample) X(next_token)                                                       \
    X(silu) X(silu_backward) X(swiglu) X(swiglu_backward)                         \
    X(add) X(mul) X(scale) X(scale_by) X(broadcast) X(full) X(accumulate) X(fill) \
    X(cast)                                                                       \
    X(softmax) X(softmax_backward)                                                \
    X(sum) X(global_norm) X(clip_factor)                                          \
    X(dropout)                                                                    \
    X(reshape) X(transpose) X(slice) X(slice_backward) X(copy) X(concat_rows)     \
    X(cross_entropy) X(cross_entropy_backward)                                    \
    X(linear_cross_entropy)                                                       \
    X(adamw) X(adamw_8bit)                                                        \
    X(quantize) X(dequantize)
// clang-format on

namespace ggq {

#define GGQ_DECLARE_ROW(name) extern const OpDef name##_op;
GGQ_OPS(GGQ_DECLARE_ROW)
#undef GGQ_DECLARE_ROW

}  // namespace ggq
