#include "ggq/op_table.h"

namespace ggq {

std::span<const OpDef* const> op_table() {
    static constexpr const OpDef* kTable[] = {
        &embedding_op,
        &embedding_backward_op,
        &rms_norm_op,
        &rms_norm_backward_op,
        &matmul_op,
        &quant_matmul_op,
        &quant_matmul_backward_op,
        &lora_linear_op,
        &lora_linear_backward_op,
        &rope_op,
        &attention_op,
        &attention_backward_op,
        &cache_write_op,
        &silu_op,
        &silu_backward_op,
        &swiglu_op,
        &swiglu_backward_op,
        &add_op,
        &mul_op,
        &scale_op,
        &scale_by_op,
        &broadcast_op,
        &full_op,
        &accumulate_op,
        &fill_op,
        &cast_op,
        &softmax_op,
        &softmax_backward_op,
        &sum_op,
        &global_norm_op,
        &clip_factor_op,
        &dropout_op,
        &reshape_op,
        &transpose_op,
        &slice_op,
        &slice_backward_op,
        &copy_op,
        &cross_entropy_op,
        &cross_entropy_backward_op,
        &linear_cross_entropy_op,
        &adamw_op,
        &adamw_8bit_op,
        &quantize_op,
        &dequantize_op,
    };
    return kTable;
}

}  // namespace ggq
