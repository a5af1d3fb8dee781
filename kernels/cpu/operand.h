// One factor of a product: a matrix [rows, k] of which dot products run along k, in whatever type and order it is
// stored. Products read it in runs of consecutive elements, converted to T, decoded or masked on the way.
#pragma once

#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/quantized.h"

namespace ggq::cpu::GGQ_ISA {

struct Operand {
    const void* data = nullptr;
    DType dtype = DType::f32;
    int64_t row_stride = 0, k_stride = 0;  // in elements
    QuantParts quant;
    const DropoutMask* mask = nullptr;  // over the elements' offsets

    int64_t offset(int64_t row, int64_t k) const { return row * row_stride + k * k_stride; }
};

// A view [rows, k] as it lies.
GGQ_INLINE Operand operand(const View& v, const DropoutMask* mask = nullptr) {
    return {v.data, v.dtype, v.strides[0], v.strides[1], v.quant, mask && mask->p > 0 ? mask : nullptr};
}

// A contiguous array [rows, k] of T.
template <typename T>
GGQ_INLINE Operand operand(const T* data, int64_t k) {
    return {data, std::is_same_v<T, double> ? DType::f64 : DType::f32, k, 1, {}, nullptr};
}

GGQ_INLINE Operand transposed(Operand o) {
    const int64_t row_stride = o.row_stride;
    o.row_stride = o.k_stride;
    o.k_stride = row_stride;
    return o;
}

// Asks for n elements ahead of their use, codes with their scales: packing jumps from row to row, which no hardware
// foresees.
GGQ_INLINE void prefetch_run(const Operand& o, int64_t begin, int64_t n) {
    if (!info(o.dtype).quantized) {
        const int64_t bytes = info(o.dtype).bytes;
        const auto* data = static_cast<const char*>(o.data);
        for (int64_t at = begin * bytes; at < (begin + n) * bytes; at += 64) __builtin_prefetch(data + at, 0, 2);
        return;
    }
    const FormatInfo& f = format(o.dtype);
    if (f.packed()) {
        const int64_t end = (begin + n + f.packed_elems - 1) / f.packed_elems * f.packed_bytes;
        for (int64_t at = begin / f.packed_elems * f.packed_bytes; at < end; at += 64)
            __builtin_prefetch(o.quant.codes + at);
        return;
    }
    const int bits = f.bits;
    for (int64_t at = begin * bits / 8; at < (begin + n) * bits / 8; at += 64) __builtin_prefetch(o.quant.codes + at);
    if (o.quant.scale_codes) __builtin_prefetch(o.quant.scale_codes + begin / o.quant.block);
    else __builtin_prefetch(o.quant.scales + begin / o.quant.block);
}

template <typename T>
inline void decode_run(const Operand& o, int64_t begin, int64_t n, T* dst) {
    if constexpr (std::is_same_v<T, float>) {
        decode(o.quant, o.dtype, begin, n, dst);
    } else {
        float piece[64];
        for (int64_t i = 0; i < n; i += 64) {
            const int64_t count = n - i < 64 ? n - i : 64;
            decode(o.quant, o.dtype, begin + i, count, piece);
            for (int64_t j = 0; j < count; ++j) dst[i + j] = piece[j];
        }
    }
}

// dst[n] = the elements at offsets begin, begin + stride, ... as T.
template <typename T>
inline void load_run(const Operand& o, int64_t begin, int64_t stride, int64_t n, T* dst) {
    if (info(o.dtype).quantized) {
        if (stride == 1) decode_run(o, begin, n, dst);
        else
            for (int64_t i = 0; i < n; ++i) decode_run(o, begin + i * stride, 1, dst + i);
    } else {
        with_float(o.dtype, [&](auto tag) {
            const auto* src = static_cast<const decltype(tag)*>(o.data) + begin;
            if (stride == 1)
                for (int64_t i = 0; i < n; ++i) dst[i] = convert<T>(src[i]);
            else
                for (int64_t i = 0; i < n; ++i) dst[i] = convert<T>(src[i * stride]);
        });
    }
    if (!o.mask) return;
    if (stride == 1) apply_mask(*o.mask, begin, n, dst, dst);
    else
        for (int64_t i = 0; i < n; ++i) apply_mask(*o.mask, begin + i * stride, 1, dst + i, dst + i);
}

}  // namespace ggq::cpu::GGQ_ISA
