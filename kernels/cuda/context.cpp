#include "kernels/cuda/context.h"

#include <string>

namespace ggq::cuda {

void check(cudaError_t status, const char* expression) {
    if (status == cudaSuccess) return;
    throw Error("CUDA: " + std::string(expression) + ": " + cudaGetErrorName(status) + " (" +
                cudaGetErrorString(status) + ")");
}

}  // namespace ggq::cuda
