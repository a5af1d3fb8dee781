#include "kernels/formats.h"

#include "kernels/rounding.h"

namespace ggq {

namespace {

constexpr int64_t align16(int64_t n) { return round_up(n, 16); }

}  // namespace

QuantLayout quant_layout(DType dtype, const Shape& shape, QuantSpec spec) {
    const int64_t n = shape.n_elems();
    const FormatInfo& f = format(dtype);
    QuantLayout at;
    if (f.packed()) {
        at.codes_bytes = ceil_div(n, f.packed_elems) * f.packed_bytes;
        at.scales_at = at.nested_at = at.offset_at = at.bytes = align16(at.codes_bytes);
        return at;
    }
    at.codes_bytes = f.bits == 4 ? ceil_div(n, 2) : n;
    at.scales_at = align16(at.codes_bytes);
    if (!f.block_scales) {
        at.n_scales = n == 0 ? 0 : n / shape[shape.rank - 1];
        at.nested_at = at.offset_at = at.bytes = align16(at.scales_at + 4 * at.n_scales);
        return at;
    }
    at.n_scales = ceil_div(n, spec.block);
    at.n_nested = spec.double_quant ? ceil_div(at.n_scales, kNestedBlock) : 0;
    at.nested_at = align16(at.scales_at + at.n_scales * (spec.double_quant ? 1 : 4));
    at.offset_at = align16(at.nested_at + 4 * at.n_nested);
    at.bytes = spec.double_quant ? align16(at.offset_at + 4) : at.offset_at;
    return at;
}

int64_t storage_bytes(DType dtype, const Shape& shape, QuantSpec spec) {
    if (info(dtype).quantized) return quant_layout(dtype, shape, spec).bytes;
    return shape.n_elems() * info(dtype).bytes;
}

View make_view(void* data, DType dtype, const Shape& shape, QuantSpec spec) {
    View v{data, dtype, shape, contiguous_strides(shape), {}};
    if (!info(dtype).quantized) return v;
    const QuantLayout at = quant_layout(dtype, shape, spec);
    auto* base = static_cast<uint8_t*>(data);
    v.quant.codes = base;
    if (is_packed(dtype)) {
        v.quant.block = format(dtype).packed_elems;
        return v;
    }
    v.quant.block = format(dtype).block_scales ? spec.block : static_cast<int>(shape[shape.rank - 1]);
    if (at.n_nested > 0) {
        v.quant.scale_codes = base + at.scales_at;
        v.quant.nested = reinterpret_cast<const float*>(base + at.nested_at);
        v.quant.offset = reinterpret_cast<const float*>(base + at.offset_at);
    } else {
        v.quant.scales = reinterpret_cast<const float*>(base + at.scales_at);
    }
    return v;
}

}  // namespace ggq
