// The numbers of an adapter's tensors.
#pragma once

#include <vector>

#include "models/convert/tensor_memory.h"

namespace ggq {

std::vector<float> as_floats(const FileTensor& x);

// As float32, times `factor`; `memory` keeps it.
FileTensor scaled(const FileTensor& x, double factor, TensorMemory& memory);

}  // namespace ggq
