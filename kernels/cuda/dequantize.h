// Whole quantized tensors back to floats.
#pragma once

#include "kernels/cuda/context.h"
#include "kernels/view.h"

namespace ggq::cuda {

// dst[n_elems] of type `to` (f32, f16, bf16) = the weights, level * scale rounded to float and then to `to`.
void dequantize_to(const CudaContext& ctx, const QuantParts& q, DType format, int64_t n_elems, DType to, void* dst);

}  // namespace ggq::cuda
