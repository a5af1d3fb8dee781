// Tensors that are made of others and own their memory, as files of other programs have them the other way round.
#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "ggq/io/safetensors.h"

namespace ggq {

// Keeps what tensors point to.
class TensorMemory {
public:
    // x[m,n] -> [n,m], of any type.
    FileTensor transposed(const FileTensor& x);
    // Rows or columns of zeros behind, so that it is [n_rows, n_columns].
    FileTensor padded(const FileTensor& x, int64_t n_rows, int64_t n_columns);

    FileTensor take(std::vector<std::byte> bytes, DType dtype, const Shape& shape);

private:
    std::deque<std::vector<std::byte>> memory_;
};

}  // namespace ggq
