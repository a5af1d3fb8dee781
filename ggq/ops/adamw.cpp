// AdamW (Loshchilov and Hutter, 2019) over flat ranges, with 32-bit or blockwise 8-bit state (Dettmers et al., 2022).
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/code_maps.h"
#include "kernels/kernels.h"
#include "kernels/rounding.h"

namespace ggq {

const OpDef adamw_op = {
    .name = "adamw",
    .signature = "p!:float[N] m!:real[N] v!:real[N] g:real[N] rate:stat[1] step:i64[1] factor:stat[1] ->",
    .kernel = kernels::adamw,
};

const OpDef adamw_8bit_op = {
    .name = "adamw_8bit",
    .signature =
        "p!:float[N] m!:u8[N] v!:u8[N] m_scale!:f32[B] v_scale!:f32[B] g:f32[N] rate:f32[1] step:i64[1] "
        "factor:f32[1] ->",
    .kernel = kernels::adamw_8bit,
};

void adamw(Tensor param, Tensor m, Tensor v, const AdamWInputs& in, const AdamWParams& params) {
    param.graph->append(adamw_op, {param, m, v, in.gradient, in.rate, in.step, in.gradient_factor}, params);
}

void adamw_8bit(Tensor param, const AdamW8State& s, const AdamWInputs& in, const AdamWParams& params) {
    const int64_t n_blocks = ceil_div(param.shape().n_elems(), kStateBlock);
    require(s.m_scale.shape() == Shape{n_blocks}, "[adamw_8bit] m_scale: expected shape [{}], got {}", n_blocks,
            to_string(s.m_scale.shape()));
    param.graph->append(adamw_8bit_op,
                        {param, s.m, s.v, s.m_scale, s.v_scale, in.gradient, in.rate, in.step, in.gradient_factor},
                        params);
}

}  // namespace ggq
