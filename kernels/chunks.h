// How long sums are cut. The order of a sum is a part of its result, so the CPU's kernels, the GPU's and those who plan
// for them take these from here.
#pragma once

#include <cstdint>

namespace ggq {

// Elements of a chunk: sum, global_norm and, under double quantization, the mean of all scales add up a chunk in
// double, then the chunks in order.
inline constexpr int64_t kSumChunk = 4096;

// Rows whose terms of dw rms_norm_backward adds up in its computing type, before the chunks are added in order in
// double.
inline constexpr int64_t kNormChunk = 64;

}  // namespace ggq
