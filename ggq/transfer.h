// Between host tensors and buffers of another type: copied, cast or quantized by the backend's own kernels.
#pragma once

#include "ggq/buffer.h"

namespace ggq {

// `host` holds the buffer's elements as `from` (any float dtype), contiguous. Scratch is taken and given back.
void write_converted(Store& store, const Buffer& to, DType from, const void* host);

// Float elements of a buffer, dequantized if need be, as `to` on the host.
void read_converted(const Store& store, const Buffer& from, DType to, void* host);
std::vector<float> read_f32(const Store& store, const Buffer& from);

// Neither NaN nor infinite, for any float dtype.
bool all_finite(DType dtype, const void* host, int64_t n_elems);

}  // namespace ggq
