// CUDA devices as backends. Built only with a CUDA toolkit; ggq/device.h is what everyone else asks.
#pragma once

#include <memory>

#include "ggq/backend.h"
#include "ggq/device.h"

namespace ggq {

// What this machine offers, found without taking memory on a device.
CudaInfo query_cuda();
std::string query_cublas();

// A device by number. `memory_limit` is the most bytes that the process may hold on it, the device's own overhead
// included (0: all of it). Throws Error when the device cannot be used, and why.
std::unique_ptr<Backend> make_cuda_backend(int index, int64_t memory_limit);

}  // namespace ggq
