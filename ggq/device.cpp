#include "ggq/device.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "ggq/error.h"
#if defined(GGQ_CUDA)
#include "ggq/backend_cuda.h"
#endif

namespace ggq {

namespace {

// N of "cuda:N", 0 of "cuda".
int device_number(const std::string& device) {
    if (device == "cuda") return 0;
    require(device.find(',') == std::string::npos,
            "--device {}: several GPUs are not supported yet; name one, such as cuda:0", device);
    int number = -1;
    const char *begin = device.data() + 5, *end = device.data() + device.size();
    const auto [stop, error] = std::from_chars(begin, std::max(begin, end), number);
    require(device.starts_with("cuda:") && error == std::errc() && stop == end && number >= 0,
            "--device: expected auto, cpu, cuda or cuda:N, got '{}'", device);
    return number;
}

}  // namespace

bool cuda_code_runs_on(const std::string& architectures, int capability) {
    std::istringstream list(architectures);
    int newest = 0;
    bool runs = false;
    for (std::string arch; list >> arch;) {
        newest = std::stoi(arch);
        const bool exact = arch.back() < '0' || arch.back() > '9';
        runs |= exact ? capability == newest : capability / 10 == newest / 10 && capability >= newest;
    }
    return runs || (newest > 0 && capability >= newest);
}

#if defined(GGQ_CUDA)

CudaInfo cuda_info() { return query_cuda(); }

#else

CudaInfo cuda_info() {
    CudaInfo info;
    info.problem = "this program was built without CUDA";
    return info;
}

static std::unique_ptr<Backend> make_cuda_backend(int, int64_t) { return nullptr; }

#endif

std::unique_ptr<Backend> make_backend(const DeviceOptions& options) {
    if (options.device == "cpu") return make_cpu_backend(options.threads);
    if (options.device == "auto") {
        const CudaInfo info = cuda_info();
        for (const GpuInfo& gpu : info.gpus)
            if (gpu.problem.empty()) return make_cuda_backend(gpu.index, options.gpu_memory);
        return make_cpu_backend(options.threads);
    }
    const auto number = static_cast<size_t>(device_number(options.device));
    const CudaInfo info = cuda_info();
    require(info.problem.empty(), "--device {}: {}; use --device cpu", options.device, info.problem);
    require(number < info.gpus.size(), "--device {}: this machine has {} CUDA devices", options.device,
            info.gpus.size());
    const std::string& problem = info.gpus[number].problem;
    require(problem.empty(), "--device {}: {}", options.device, problem);
    return make_cuda_backend(static_cast<int>(number), options.gpu_memory);
}

}  // namespace ggq
