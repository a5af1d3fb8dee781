#include "tests/gpu.h"

#include "ggq/device.h"
#include "tests/fixtures.h"

namespace ggq::test {

Backend* require_gpu() {
    static const CudaInfo info = cuda_info();
    if (!info.problem.empty()) {
        skipped("no GPU: " + info.problem);
        return nullptr;
    }
    static const std::unique_ptr<Backend> backend = make_backend({.device = "cuda"});
    return backend.get();
}

}  // namespace ggq::test
