// What a CUDA kernel needs beside its views: the stream, the facts of the card and cuBLAS. Host code; the only headers
// of CUDA here are those of the runtime.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/device.h"
#include "kernels/kernel.h"

namespace ggq {

namespace cuda {

class Blas;
struct Messages;

}  // namespace cuda

struct CudaContext {
    cudaStream_t stream = nullptr;
    const cuda::Device* device = nullptr;
    const cuda::Blas* blas = nullptr;    // null without cuBLAS: our own products then take every size
    cuda::Messages* messages = nullptr;  // of the device (messages.h)
};

namespace cuda {

// Whether this build has code for 90a, and the environment variable GGQ_CUDA_FORMS is not "portable", which keeps to
// the forms that every card has.
bool uses_hopper_forms();

// Throws Error "CUDA: <expression>: <name> (<text>)" unless status is cudaSuccess.
void check(cudaError_t status, const char* expression);

#define GGQ_CUDA_CHECK(expression) ::ggq::cuda::check((expression), #expression)

}  // namespace cuda

}  // namespace ggq
