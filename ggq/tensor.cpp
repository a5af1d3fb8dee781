#include "ggq/tensor.h"

namespace ggq {

const char* name(Kind kind) {
    static constexpr const char* kNames[] = {"input", "constant", "parameter", "state", "temporary"};
    return kNames[static_cast<int>(kind)];
}

bool TensorType::operator==(const TensorType& other) const {
    return dtype == other.dtype && shape == other.shape && (!info(dtype).quantized || quant == other.quant);
}

std::string to_string(const Shape& shape) {
    std::string text = "[";
    for (int i = 0; i < shape.rank; ++i) text += (i ? "," : "") + std::to_string(shape[i]);
    return text + "]";
}

std::string to_string(const TensorType& type) { return name(type.dtype) + to_string(type.shape); }

}  // namespace ggq
