#include "kernels/cuda/context.h"

#include <cstdlib>
#include <cstring>
#include <string>

namespace ggq::cuda {

bool uses_hopper_forms() {
#ifdef GGQ_HOPPER
    const char* wanted = std::getenv("GGQ_CUDA_FORMS");
    return wanted == nullptr || std::strcmp(wanted, "portable") != 0;
#else
    return false;
#endif
}

void check(cudaError_t status, const char* expression) {
    if (status == cudaSuccess) return;
    throw Error("CUDA: " + std::string(expression) + ": " + cudaGetErrorName(status) + " (" +
                cudaGetErrorString(status) + ")");
}

}  // namespace ggq::cuda
