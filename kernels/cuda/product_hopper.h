// The product of large matrices on Hopper, its low-rank update and a residual in one launch:
//   y[m,n] = x[m,k] w[n,k]^T + s xa[m,r] b[n,r]^T + sum[m,n]
// in 16 bits (f16 or bf16), added in float, rounded once. Against a library's product it saves a pass over y. Floor:
// 2 m n k FLOP in the tensor cores.
#pragma once

#include "kernels/cuda/product.h"

namespace ggq::cuda {

// A product that has a low-rank update, of a rank that is a multiple of 8 up to 64, and whose y is contiguous and has
// the type of its factors; + sum, contiguous too (null: zeros; may be y). False, and nothing is done, where this form
// does not take it, has too many rows, or its tiles do not fill the card. w and b of another type are converted before,
// into scratch: tiled_workspace() bytes, and converted_bytes() of b. The same bits at every call.
bool multiply_in_one(const CudaContext& ctx, const Product& p, const void* sum, Scratch scratch);

}  // namespace ggq::cuda
