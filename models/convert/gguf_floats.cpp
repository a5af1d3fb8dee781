#include "models/convert/gguf_floats.h"

#include "ggq/error.h"
#include "kernels/formats.h"
#include "kernels/packed_blocks.h"
#include "models/merge/weight_update.h"

namespace ggq {

namespace {

DType plain_type(GgufType type) {
    if (type == GgufType::f16) return DType::f16;
    if (type == GgufType::bf16) return DType::bf16;
    GGQ_ASSERT(type == GgufType::f32, info(type).name);
    return DType::f32;
}

}  // namespace

uint32_t gguf_file_type(GgufType type) {
    if (type == GgufType::f32) return 0;
    if (type == GgufType::f16) return 1;
    return type == GgufType::q8_0 ? 7 : 32;
}

GgufType type_of_rows(GgufType type, int64_t row_elems) {
    return row_elems % info(type).block == 0 ? type : GgufType::f16;
}

std::vector<std::byte> gguf_encoded(Backend& cpu, GgufType type, std::span<const float> values) {
    if (type == GgufType::q8_0) {
        std::vector<std::byte> blocks(static_cast<size_t>(row_bytes(DType::q8_0, std::ssize(values))));
        encode_q8_0(values, blocks.data());
        return blocks;
    }
    const DType dtype = plain_type(type);
    std::vector<std::byte> bytes(values.size() * static_cast<size_t>(info(dtype).bytes));
    convert_floats(cpu, DType::f32, values.data(), dtype, bytes.data(), std::ssize(values));
    return bytes;
}

std::vector<float> gguf_decoded(Backend& cpu, GgufType type, std::span<const std::byte> bytes) {
    if (type == GgufType::q8_0) {
        const FormatInfo& f = format(DType::q8_0);
        std::vector<float> values(bytes.size() / static_cast<size_t>(f.packed_bytes) *
                                  static_cast<size_t>(f.packed_elems));
        decode_blocks(DType::q8_0, bytes.data(), values);
        return values;
    }
    const DType dtype = plain_type(type);
    std::vector<float> values(bytes.size() / static_cast<size_t>(info(dtype).bytes));
    convert_floats(cpu, dtype, bytes.data(), DType::f32, values.data(), std::ssize(values));
    return values;
}

}  // namespace ggq
