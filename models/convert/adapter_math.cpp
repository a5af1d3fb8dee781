#include "models/convert/adapter_math.h"

#include "ggq/backend.h"
#include "models/merge/weight_update.h"

namespace ggq {

std::vector<float> as_floats(const FileTensor& x) {
    const auto cpu = make_cpu_backend(1);
    std::vector<float> values(static_cast<size_t>(x.shape.n_elems()));
    convert_floats(*cpu, x.dtype, x.data, DType::f32, values.data(), x.shape.n_elems());
    return values;
}

FileTensor scaled(const FileTensor& x, double factor, TensorMemory& memory) {
    std::vector<float> values = as_floats(x);
    for (float& v : values) v = static_cast<float>(double{v} * factor);
    const auto bytes = std::as_bytes(std::span(values));
    return memory.take({bytes.begin(), bytes.end()}, DType::f32, x.shape);
}

}  // namespace ggq
