// What products are compared with: the dense product of the same shape, by cuBLAS on a GPU, and dequantizing before it.
#pragma once

#include "bench/support/shapes.h"

namespace ggq::bench {

Baseline dense_baseline(const Scale& scale, const Linear& l, int64_t m);
Baseline dequantized_baseline(const Scale& scale, const Linear& l, int64_t m, DType format);

}  // namespace ggq::bench
