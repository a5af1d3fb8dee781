// The form of few_rows.cu for 4-bit weights in tensor cores.
#pragma once

#include "kernels/cuda/product.h"

namespace ggq::cuda {

// few_rows_in_tensor_cores() holds; rows of x are contiguous and, like the codes, aligned to 16 bytes.
void few_rows_4bit(const CudaContext& ctx, const Product& p, Scratch scratch);

}  // namespace ggq::cuda
