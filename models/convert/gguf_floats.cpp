#include "models/convert/gguf_floats.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ggq/error.h"
#include "models/merge/weight_update.h"

namespace ggq {

namespace {

constexpr size_t kBlock = 32, kBlockBytes = 34;

DType plain_type(GgufType type) {
    if (type == GgufType::f16) return DType::f16;
    if (type == GgufType::bf16) return DType::bf16;
    GGQ_ASSERT(type == GgufType::f32, info(type).name);
    return DType::f32;
}

std::vector<std::byte> encoded_q8(Backend& cpu, std::span<const float> values) {
    const size_t n_blocks = values.size() / kBlock;
    std::vector<float> scales(n_blocks);
    std::vector<uint16_t> halves(n_blocks);
    for (size_t b = 0; b < n_blocks; ++b)
        for (float x : values.subspan(b * kBlock, kBlock)) scales[b] = std::max(scales[b], std::abs(x));
    for (float& s : scales) s /= 127;
    convert_floats(cpu, DType::f32, scales.data(), DType::f16, halves.data(), std::ssize(scales));
    std::vector<std::byte> bytes(n_blocks * kBlockBytes);
    for (size_t b = 0; b < n_blocks; ++b) {
        std::byte* block = &bytes[b * kBlockBytes];
        std::memcpy(block, &halves[b], sizeof(uint16_t));
        const float factor = scales[b] > 0 ? 1 / scales[b] : 0;
        for (size_t i = 0; i < kBlock; ++i)
            block[2 + i] = static_cast<std::byte>(static_cast<int8_t>(std::round(values[b * kBlock + i] * factor)));
    }
    return bytes;
}

std::vector<float> decoded_q8(Backend& cpu, std::span<const std::byte> bytes) {
    const size_t n_blocks = bytes.size() / kBlockBytes;
    std::vector<float> scales(n_blocks), values(n_blocks * kBlock);
    std::vector<uint16_t> halves(n_blocks);
    for (size_t b = 0; b < n_blocks; ++b) std::memcpy(&halves[b], &bytes[b * kBlockBytes], sizeof(uint16_t));
    convert_floats(cpu, DType::f16, halves.data(), DType::f32, scales.data(), std::ssize(scales));
    for (size_t i = 0; i < values.size(); ++i) {
        const size_t b = i / kBlock;
        values[i] = scales[b] * static_cast<float>(static_cast<int8_t>(bytes[b * kBlockBytes + 2 + i % kBlock]));
    }
    return values;
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
    if (type == GgufType::q8_0) return encoded_q8(cpu, values);
    const DType dtype = plain_type(type);
    std::vector<std::byte> bytes(values.size() * static_cast<size_t>(info(dtype).bytes));
    convert_floats(cpu, DType::f32, values.data(), dtype, bytes.data(), std::ssize(values));
    return bytes;
}

std::vector<float> gguf_decoded(Backend& cpu, GgufType type, std::span<const std::byte> bytes) {
    if (type == GgufType::q8_0) return decoded_q8(cpu, bytes);
    const DType dtype = plain_type(type);
    std::vector<float> values(bytes.size() / static_cast<size_t>(info(dtype).bytes));
    convert_floats(cpu, dtype, bytes.data(), DType::f32, values.data(), std::ssize(values));
    return values;
}

}  // namespace ggq
