// Between host tensors and buffers of another type: copied, cast or quantized by the backend's own kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "ggq/buffer.h"

namespace ggq {

// Fills `to` with the bytes of a host tensor from its byte `at` on.
using ReadPart = std::function<void(uint64_t at, std::span<std::byte> to)>;

// write_converted() of a tensor that is read from its beginning to its end in pieces of whole elements, so that no more
// of it than a piece is held on the host. Only what is quantized is all there at a time, as it is in the file, for the
// scales depend on all of it: in memory of the device where there is room, else of the host.
void write_streamed(Store& store, const Buffer& to, DType from, const ReadPart& read);

// The parts of a tensor that is stored in 4 bits already, as kernels/formats.h lays them out: codes, scales (f32, or
// 8-bit codes under double quantization), and of those the nested scales and their offset.
struct QuantizedParts {
    ReadPart codes, scales, nested;
    float offset = 0;
};

// Fills a 4-bit buffer with them as they are, in pieces.
void write_parts(Store& store, const Buffer& to, const QuantizedParts& from);

// `host` holds the buffer's elements as `from` (any float dtype), contiguous. Scratch is taken and given back.
void write_converted(Store& store, const Buffer& to, DType from, const void* host);

// Float elements of a buffer, dequantized if need be, as `to` on the host.
void read_converted(const Store& store, const Buffer& from, DType to, void* host);
std::vector<float> read_f32(const Store& store, const Buffer& from);

// Neither NaN nor infinite, for any float dtype.
bool all_finite(DType dtype, const void* host, int64_t n_elems);

}  // namespace ggq
