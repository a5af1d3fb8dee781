#include "models/convert/tensor_memory.h"

#include <cstring>
#include <utility>

namespace ggq {

namespace {

std::vector<std::byte> zeros(const Shape& shape, DType dtype) {
    return std::vector<std::byte>(static_cast<size_t>(shape.n_elems() * info(dtype).bytes));
}

}  // namespace

FileTensor TensorMemory::take(std::vector<std::byte> bytes, DType dtype, const Shape& shape) {
    return {memory_.emplace_back(std::move(bytes)).data(), dtype, shape};
}

FileTensor TensorMemory::transposed(const FileTensor& x) {
    const int64_t m = x.shape[0], n = x.shape[1];
    const auto size = static_cast<size_t>(info(x.dtype).bytes);
    std::vector<std::byte> y = zeros(x.shape, x.dtype);
    const auto* from = static_cast<const std::byte*>(x.data);
    for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j)
            std::memcpy(&y[static_cast<size_t>(j * m + i) * size], from + static_cast<size_t>(i * n + j) * size, size);
    return take(std::move(y), x.dtype, {n, m});
}

FileTensor TensorMemory::padded(const FileTensor& x, int64_t n_rows, int64_t n_columns) {
    const Shape shape{n_rows, n_columns};
    std::vector<std::byte> y = zeros(shape, x.dtype);
    const auto size = static_cast<size_t>(info(x.dtype).bytes);
    const auto* from = static_cast<const std::byte*>(x.data);
    for (int64_t i = 0; i < x.shape[0]; ++i)
        std::memcpy(&y[static_cast<size_t>(i * n_columns) * size], from + static_cast<size_t>(i * x.shape[1]) * size,
                    static_cast<size_t>(x.shape[1]) * size);
    return take(std::move(y), x.dtype, shape);
}

}  // namespace ggq
