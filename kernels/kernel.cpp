#include "kernels/kernel.h"

#include "kernels/check.h"

namespace ggq {

void cuda_not_built(const CudaContext&, const KernelArgs&) { GGQ_ASSERT(false, "this build has no CUDA kernels"); }

}  // namespace ggq
