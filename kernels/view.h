// What a kernel sees of a tensor: a pointer, an element type, a shape and strides. Shapes are outermost first.
//
// 4-bit and 8-bit block formats are element types too: such a view is frozen, contiguous, and has parts
// (codes, scales, nested scales, offset) whose layout kernels/formats.h describes.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace ggq {

enum class DType : uint8_t {
    f32,
    f64,
    f16,
    bf16,
    i32,
    i64,
    u8,
    i8,
    nf4,
    fp4,
    int8,
    q8_0,
    q4_0,
    q4_1,
    q5_0,
    q5_1,
    q4_k,
    q5_k,
    q6_k,
    iq4_nl
};

struct f16 {
    uint16_t bits;
};

struct bf16 {
    uint16_t bits;
};

struct DTypeInfo {
    const char* name;
    int bytes;  // of one element; 0 for block formats, whose size is storage_bytes() in formats.h
    bool floating;
    bool quantized;
};

inline constexpr DTypeInfo kDTypes[] = {
    {"f32", 4, true, false},  {"f64", 8, true, false},  {"f16", 2, true, false},  {"bf16", 2, true, false},
    {"i32", 4, false, false}, {"i64", 8, false, false}, {"u8", 1, false, false},  {"i8", 1, false, false},
    {"nf4", 0, false, true},  {"fp4", 0, false, true},  {"int8", 0, false, true}, {"q8_0", 0, false, true},
    {"q4_0", 0, false, true}, {"q4_1", 0, false, true}, {"q5_0", 0, false, true}, {"q5_1", 0, false, true},
    {"q4_k", 0, false, true}, {"q5_k", 0, false, true}, {"q6_k", 0, false, true}, {"iq4_nl", 0, false, true},
};

constexpr const DTypeInfo& info(DType t) { return kDTypes[static_cast<int>(t)]; }
constexpr const char* name(DType t) { return info(t).name; }

inline constexpr int kMaxRank = 4;

struct Shape {
    int64_t dims[kMaxRank] = {};
    int rank = 0;

    constexpr Shape() = default;
    constexpr Shape(std::initializer_list<int64_t> list) {
        for (int64_t d : list) dims[rank++] = d;
    }
    constexpr int64_t operator[](int axis) const { return dims[axis]; }
    constexpr int64_t& operator[](int axis) { return dims[axis]; }
    constexpr int64_t n_elems() const {
        int64_t n = 1;
        for (int i = 0; i < rank; ++i) n *= dims[i];
        return n;
    }
    constexpr bool operator==(const Shape& other) const = default;
};

struct Strides {  // in elements
    int64_t of[kMaxRank] = {};
    constexpr int64_t operator[](int axis) const { return of[axis]; }
    constexpr int64_t& operator[](int axis) { return of[axis]; }
};

constexpr Strides contiguous_strides(const Shape& shape) {
    Strides strides;
    int64_t step = 1;
    for (int i = shape.rank - 1; i >= 0; --i) {
        strides[i] = step;
        step *= shape[i];
    }
    return strides;
}

// The parts of a quantized view; unused ones are null. See formats.h for the layout.
struct QuantParts {
    const uint8_t* codes = nullptr;        // [n/2] two 4-bit codes a byte, first in the high nibble; int8: [n] signed;
                                           // formats of GGUF: blocks, which hold their scales, and no other part
    const float* scales = nullptr;         // [blocks] single scales; int8: [rows]
    const uint8_t* scale_codes = nullptr;  // [blocks] 8-bit scales under double quantization
    const float* nested = nullptr;         // [ceil(blocks / 256)]
    const float* offset = nullptr;         // [1] mean of the scales
    int block = 0;                         // weights a scale, or a block; int8: the row length
};

struct View {
    void* data = nullptr;
    DType dtype = DType::f32;
    Shape shape;
    Strides strides;
    QuantParts quant;

    template <typename T>
    T* as() const {
        return static_cast<T*>(data);
    }
    int64_t n_elems() const { return shape.n_elems(); }
    bool contiguous() const {
        int64_t step = 1;
        for (int i = shape.rank - 1; i >= 0; --i) {
            if (shape[i] != 1 && strides[i] != step) return false;
            step *= shape[i];
        }
        return true;
    }
};

}  // namespace ggq
