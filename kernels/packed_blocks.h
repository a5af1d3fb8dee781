// Blocks of GGUF (kernels/gguf_blocks.h) on the host: whole stretches of them, for whoever loads or writes a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/view.h"

namespace ggq {

// Bytes of n_elems weights that are stored one after the other: whole blocks of a packed format, or elements of any
// dtype that is not quantized.
int64_t row_bytes(DType dtype, int64_t n_elems);

// to[n] = the weights of the blocks; n is a multiple of a block.
void decode_blocks(DType dtype, const std::byte* blocks, std::span<float> to);

// Whether all scales of n_elems weights are finite.
bool scales_finite(DType dtype, const std::byte* blocks, int64_t n_elems);

// Blocks of q8_0 as llama.cpp makes them: d = absmax / 127 in float, codes round(x * (1 / d)) with halves away from
// zero, d as f16. from.size() is a multiple of 32; `to` has row_bytes() of it.
void encode_q8_0(std::span<const float> from, std::byte* to);

}  // namespace ggq
