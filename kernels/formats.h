// The table of quantized formats, and the one place where each of their constants stands.
//
// nf4, fp4  blocks of 64, 128 or 256 weights along the flattened row-major tensor; a 4-bit code a weight (first of a
//           pair in the high nibble), one scale (absmax) a block. With double quantization the scales minus their mean
//           (`offset`) are 8-bit codes of the signed dynamic map in blocks of 256, one float each. Byte-compatible with
//           bitsandbytes. Restoring a scale is map[code] * nested[i / 256] + offset: two roundings, never fused.
// int8      one scale a row (absmax of the row); weight = code * (scale / 127).
// q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k, iq4_nl
//           as GGUF files hold them: blocks of 32 or 256 weights along a row, each with its scales (gguf_blocks.h).
//           Only read: nothing is quantized to them.
//
// Storage is one buffer, each part aligned to 16 bytes, in this order: codes, scales, nested scales, offset.
#pragma once

#include <array>

#include "kernels/view.h"

namespace ggq {

// How a quantized tensor is stored beyond its DType.
struct QuantSpec {
    int block = 64;            // weights a scale (nf4, fp4)
    bool double_quant = true;  // 8-bit scales (nf4, fp4)
    constexpr bool operator==(const QuantSpec&) const = default;
};

inline constexpr int kQuantBlocks[] = {64, 128, 256}, kLargestQuantBlock = 256;
inline constexpr int kNestedBlock = 256;

constexpr bool is_quant_block(int64_t block) {
    for (int b : kQuantBlocks)
        if (b == block) return true;
    return false;
}

// log2 of the weights a scale of a 4-bit tensor.
inline int block_shift(const QuantParts& q) { return q.block > 0 ? __builtin_ctz(static_cast<unsigned>(q.block)) : 0; }

inline constexpr std::array<float, 16> kNf4Levels = {-1.0f,
                                                     -0.6961928009986877f,
                                                     -0.5250730514526367f,
                                                     -0.39491748809814453f,
                                                     -0.28444138169288635f,
                                                     -0.18477343022823334f,
                                                     -0.09105003625154495f,
                                                     0.0f,
                                                     0.07958029955625534f,
                                                     0.16093020141124725f,
                                                     0.24611230194568634f,
                                                     0.33791524171829224f,
                                                     0.44070982933044434f,
                                                     0.5626170039176941f,
                                                     0.7229568362236023f,
                                                     1.0f};

// Code 8 + c is the negative of code c.
inline constexpr std::array<float, 16> kFp4Levels = {
    0.0f,  0.0052083333f,  0.66666667f,  1.0f,  0.33333333f,  0.5f,  0.16666667f,  0.25f,
    -0.0f, -0.0052083333f, -0.66666667f, -1.0f, -0.33333333f, -0.5f, -0.16666667f, -0.25f};

// A value above threshold i has a code above i. They are the midpoints of neighbouring levels, but as bitsandbytes'
// float literals: four midpoints lie exactly between two floats, where rounding a double would pick the other one.
inline constexpr std::array<float, 15> kNf4Thresholds = {
    -0.8480964004993439f,  -0.6106329262256622f,   -0.4599952697753906f, -0.33967943489551544f, -0.23460740596055984f,
    -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f, 0.1202552504837513f,   0.2035212516784668f,
    0.2920137718319893f,   0.3893125355243683f,    0.5016634166240692f,  0.6427869200706482f,   0.8614784181118011f};

// Thresholds on |x| / absmax of FP4 and the code of each interval; bitsandbytes' literals, not midpoints.
inline constexpr std::array<float, 7> kFp4Thresholds = {0.00260417f, 0.0859375f, 0.20833333f, 0.29166667f,
                                                        0.4166667f,  0.583333f,  0.8333333f};
inline constexpr std::array<uint8_t, 8> kFp4CodeOfInterval = {0, 1, 6, 7, 4, 5, 2, 3};

struct FormatInfo {
    DType dtype;
    int bits;                             // of a code
    const std::array<float, 16>* levels;  // of nf4 and fp4
    bool block_scales;                    // a scale a block, else a scale a row
    int packed_elems = 0;                 // weights of a block that holds its scales, and its bytes; else 0
    int packed_bytes = 0;

    constexpr bool packed() const { return packed_elems > 0; }
};

inline constexpr FormatInfo kFormats[] = {
    {DType::nf4, 4, &kNf4Levels, true},        {DType::fp4, 4, &kFp4Levels, true},
    {DType::int8, 8, nullptr, false},          {DType::q8_0, 8, nullptr, true, 32, 34},
    {DType::q4_0, 4, nullptr, true, 32, 18},   {DType::q4_1, 4, nullptr, true, 32, 20},
    {DType::q5_0, 5, nullptr, true, 32, 22},   {DType::q5_1, 5, nullptr, true, 32, 24},
    {DType::q4_k, 4, nullptr, true, 256, 144}, {DType::q5_k, 5, nullptr, true, 256, 176},
    {DType::q6_k, 6, nullptr, true, 256, 210}, {DType::iq4_nl, 4, nullptr, true, 32, 18},
};

constexpr const FormatInfo& format(DType t) {
    for (const FormatInfo& f : kFormats)
        if (f.dtype == t) return f;
    return kFormats[0];
}

constexpr bool is_packed(DType t) { return info(t).quantized && format(t).packed(); }

// Byte offsets of the parts of a quantized tensor in its buffer.
struct QuantLayout {
    int64_t n_scales = 0, n_nested = 0;  // n_nested 0 without double quantization; both 0 where blocks hold scales
    int64_t codes_bytes = 0;
    int64_t scales_at = 0, nested_at = 0, offset_at = 0;
    int64_t bytes = 0;
};

QuantLayout quant_layout(DType dtype, const Shape& shape, QuantSpec spec);

// Bytes of a contiguous tensor of any dtype.
int64_t storage_bytes(DType dtype, const Shape& shape, QuantSpec spec);

// A contiguous view of `data`, parts included.
View make_view(void* data, DType dtype, const Shape& shape, QuantSpec spec = {});

}  // namespace ggq
