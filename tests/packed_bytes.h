// Blocks of GGUF's formats made of drawn numbers, as weights of about the size of these: for tests that need some.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/formats.h"
#include "tests/kernel_buffers.h"

namespace ggq::test {

// Of the f16 numbers of a block: where they stand and what they are about.
struct PackedScale {
    DType dtype;
    int at;
    float size;
};

inline constexpr PackedScale kPackedScales[] = {
    {DType::q8_0, 0, 1.0f / 64},  {DType::q4_0, 0, 0.125f},     {DType::q4_1, 0, 0.125f},
    {DType::q4_1, 2, -1},         {DType::q5_0, 0, 1.0f / 16},  {DType::q5_1, 0, 1.0f / 16},
    {DType::q5_1, 2, -1},         {DType::q4_k, 0, 1.0f / 256}, {DType::q4_k, 2, 1.0f / 64},
    {DType::q5_k, 0, 1.0f / 512}, {DType::q5_k, 2, 1.0f / 64},  {DType::q6_k, 208, 1.0f / 2048},
    {DType::iq4_nl, 0, 1.0f / 64}};

// A byte for every code comes from the digits of a value; scales are halved or not.
inline std::vector<std::byte> packed_bytes(DType dtype, const std::vector<double>& values) {
    const FormatInfo& f = format(dtype);
    const size_t n_blocks = values.size() / static_cast<size_t>(f.packed_elems),
                 n_bytes = static_cast<size_t>(f.packed_bytes);
    std::vector<std::byte> bytes(static_cast<size_t>(storage_bytes(dtype, {std::ssize(values)}, {})));
    for (size_t b = 0; b < n_blocks; ++b) {
        const double* of_block = values.data() + b * static_cast<size_t>(f.packed_elems);
        const auto digits = [&](size_t i) {
            return static_cast<int64_t>(std::fabs(of_block[i % static_cast<size_t>(f.packed_elems)]) * 1e5) >> i % 3;
        };
        for (size_t i = 0; i < n_bytes; ++i) bytes[b * n_bytes + i] = static_cast<std::byte>(digits(i) & 255);
        for (const PackedScale& s : kPackedScales) {
            if (s.dtype != dtype) continue;
            const uint16_t half = half_bits(digits(0) % 2 == 0 ? s.size : s.size / 2);
            std::memcpy(&bytes[b * n_bytes + static_cast<size_t>(s.at)], &half, 2);
        }
    }
    return bytes;
}

}  // namespace ggq::test
