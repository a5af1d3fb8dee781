// quant_state: the JSON text in which bitsandbytes says how a weight of a checkpoint was quantized to 4 bits.
//
//   {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [4096, 4096],
//    "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.0123}
//
// without the nested keys where scales are single. `dtype` is that of the weight before, which nothing depends on.
#pragma once

#include <string>
#include <string_view>

#include "kernels/view.h"
#include "models/base_form.h"

namespace ggq {

struct Bnb4bitState {
    QuantForm form;
    float offset = 0;  // of the scales, under double quantization
};

// The text of a quant_state; `where` names it in errors. Throws Error for what is not held, or not of this type and
// shape.
Bnb4bitState parse_bnb_4bit_state(std::string_view text, const std::string& where, DType type, const Shape& shape);

}  // namespace ggq
