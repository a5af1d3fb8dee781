// Tensor: a light handle to a value of a Graph. Copying it copies nothing; it is valid as long as its graph.
#pragma once

#include <string>

#include "kernels/formats.h"
#include "kernels/view.h"

namespace ggq {

class Graph;

// Who owns a tensor's memory and who may write it. Only temporaries live in a program's arena. Only parameters and
// state are written in place, by ops whose signature names that input as in-out.
enum class Kind : uint8_t {
    input,      // filled by the host before a run
    constant,   // frozen weight
    parameter,  // trained
    state,      // optimizer moments, gradient sums, KV cache, counters
    temporary
};

const char* name(Kind kind);

struct TensorType {
    DType dtype = DType::f32;
    Shape shape;
    QuantSpec quant;  // meaningful for quantized dtypes only

    int64_t bytes() const { return storage_bytes(dtype, shape, quant); }
    bool operator==(const TensorType& other) const;
};

// "f32[4,64]"
std::string to_string(const Shape& shape);
std::string to_string(const TensorType& type);

struct Tensor {
    Graph* graph = nullptr;
    int32_t id = -1;

    explicit operator bool() const { return graph != nullptr; }
    const TensorType& type() const;
    DType dtype() const { return type().dtype; }
    const Shape& shape() const { return type().shape; }
    Kind kind() const;
    const std::string& name() const;
};

}  // namespace ggq
