#include "tests/gpu.h"

#include "ggq/device.h"
#include "tests/fixtures.h"

namespace ggq::test {

Backend* require_gpu() {
    static const CudaInfo info = cuda_info();
    const std::string problem = !info.problem.empty() ? info.problem : info.gpus.front().problem;
    if (!problem.empty()) {
        skipped("no GPU: " + problem);
        return nullptr;
    }
    static const std::unique_ptr<Backend> backend = make_backend({.device = "cuda"});
    return backend.get();
}

std::vector<Backend*> devices() {
    static const std::unique_ptr<Backend> cpu = make_cpu_backend();
    if (Backend* gpu = require_gpu()) return {cpu.get(), gpu};
    return {cpu.get()};
}

}  // namespace ggq::test
