#include "kernels/packed_blocks.h"

#include <cmath>
#include <cstring>

#include "kernels/check.h"
#include "kernels/formats.h"
#include "kernels/gguf_blocks.h"

namespace ggq {

namespace {

constexpr int kRun = 16;

// Where the f16 numbers of a block stand: `n` of them from byte `at` on.
struct Halves {
    int at, n;
};

Halves halves_of(DType dtype) {
    if (dtype == DType::q6_k) return {208, 1};
    const bool two = dtype == DType::q4_1 || dtype == DType::q5_1 || dtype == DType::q4_k || dtype == DType::q5_k;
    return {0, two ? 2 : 1};
}

// To nearest even.
uint16_t to_half(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const uint32_t sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
    if (rest >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
    if (rest < 0x38800000u) {  // subnormal: adding 0.5 aligns the mantissa and rounds
        const float aligned = std::fabs(x) + 0.5f;
        std::memcpy(&bits, &aligned, 4);
        return static_cast<uint16_t>(sign | (bits - 0x3f000000u));
    }
    return static_cast<uint16_t>(sign | (rest + 0xc8000fffu + (rest >> 13 & 1u)) >> 13);
}

void encode_block(const float* from, std::byte* to) {
    float absmax = 0;
    for (int i = 0; i < gguf::Q8_0::kElems; ++i) absmax = std::fmax(absmax, std::fabs(from[i]));
    const float d = absmax / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
    const uint16_t half = to_half(d);
    std::memcpy(to, &half, 2);
    for (int i = 0; i < gguf::Q8_0::kElems; ++i) {
        const float code = std::round(from[i] * inverse);
        to[2 + i] = static_cast<std::byte>(static_cast<int8_t>(std::fmin(std::fmax(code, -127.0f), 127.0f)));
    }
}

}  // namespace

int64_t row_bytes(DType dtype, int64_t n_elems) {
    if (!is_packed(dtype)) return n_elems * info(dtype).bytes;
    return n_elems / format(dtype).packed_elems * format(dtype).packed_bytes;
}

void decode_blocks(DType dtype, const std::byte* blocks, std::span<float> to) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(blocks);
    const auto n = static_cast<int64_t>(to.size());
    gguf::with_format(dtype, [&](auto f) {
        for (int64_t i = 0; i < n; i += kRun) gguf::decode_run<decltype(f), kRun>(bytes, i, to.data() + i);
    });
}

bool scales_finite(DType dtype, const std::byte* blocks, int64_t n_elems) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(blocks);
    const Halves halves = halves_of(dtype);
    const FormatInfo& f = format(dtype);
    bool finite = true;
    for (int64_t b = 0; b < n_elems / f.packed_elems; ++b)
        for (int i = 0; i < halves.n; ++i) finite &= (bytes[b * f.packed_bytes + halves.at + 2 * i + 1] & 0x7c) != 0x7c;
    return finite;
}

void encode_q8_0(std::span<const float> from, std::byte* to) {
    constexpr size_t kElems = gguf::Q8_0::kElems;
    GGQ_ASSERT(from.size() % kElems == 0, "rows of whole blocks");
    for (size_t i = 0; i < from.size(); i += kElems) encode_block(&from[i], to + i / kElems * gguf::Q8_0::kBytes);
}

}  // namespace ggq
