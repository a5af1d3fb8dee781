// CUDA devices as backends. Built only with a CUDA toolkit; ggq/device.h is what everyone else asks.
#pragma once

#include <memory>

#include "ggq/backend.h"
#include "ggq/device.h"

namespace ggq {

// What this machine offers, found without taking memory on a device.
CudaInfo query_cuda();
std::string query_cublas();

// A device by number, one whose GpuInfo names no problem. Throws Error when it cannot be opened, and why.
std::unique_ptr<Backend> make_cuda_backend(int index, const DeviceOptions& options);

}  // namespace ggq
