#include "ggq/device.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "ggq/error.h"
#if defined(GGQ_CUDA)
#include "ggq/backend_cuda.h"
#endif

namespace ggq {

std::optional<int> gpu_of(const std::string& device) {
    if (device == "auto" || device == "cpu") return std::nullopt;
    if (device == "cuda") return 0;
    require(!device.starts_with("cuda:") || device.find(',') == std::string::npos,
            "`device` {}: several GPUs are not supported yet; name one, such as cuda:0", device);
    int number = -1;
    const char* end = device.data() + device.size();
    const bool named = device.starts_with("cuda:") && device.size() > 5;
    const auto [stop, error] = std::from_chars(named ? device.data() + 5 : end, end, number);
    require(named && error == std::errc() && stop == end && number >= 0,
            "`device`: expected auto, cpu, cuda or cuda:N, got '{}'", device);
    return number;
}

bool cuda_code_runs_on(const std::string& architectures, int capability) {
    std::istringstream list(architectures);
    int newest = 0;
    bool runs = false;
    for (std::string arch; list >> arch;) {
        newest = std::stoi(arch);
        const bool exact = arch.back() < '0' || arch.back() > '9';
        runs |= exact ? capability == newest : capability / 10 == newest / 10 && capability >= newest;
    }
    // PTX of 7.5 has no bf16, which cards from 8.0 on compute in.
    return runs || (newest > 0 && capability >= newest && (newest >= 80 || capability < 80));
}

#if defined(GGQ_CUDA)

CudaInfo cuda_info() { return query_cuda(); }
std::string cublas_info() { return query_cublas(); }

#else

CudaInfo cuda_info() {
    CudaInfo info;
    info.problem = "this program was built without CUDA";
    return info;
}

std::string cublas_info() { return "not looked for"; }

static std::unique_ptr<Backend> make_cuda_backend(int, const DeviceOptions&) { return nullptr; }

#endif

static const GpuInfo* first_usable(const CudaInfo& info) {
    const auto usable = std::ranges::find_if(info.gpus, [](const GpuInfo& g) { return g.problem.empty(); });
    return usable == info.gpus.end() ? nullptr : &*usable;
}

std::string why_auto_is_cpu() {
    const CudaInfo info = cuda_info();
    if (info.driver_version == 0 || first_usable(info)) return "";
    return !info.problem.empty() ? info.problem : info.gpus.empty() ? "there is no GPU" : info.gpus.front().problem;
}

std::unique_ptr<Backend> make_backend(const DeviceOptions& options) {
    const std::optional<int> gpu = gpu_of(options.device);
    if (options.device == "cpu") return make_cpu_backend(options.threads);
    const CudaInfo info = cuda_info();
    if (!gpu) {
        const GpuInfo* first = first_usable(info);
        return first ? make_cuda_backend(first->index, options) : make_cpu_backend(options.threads);
    }
    require(info.problem.empty(), "`device` {}: {}; use `device` cpu", options.device, info.problem);
    require(*gpu < static_cast<int>(info.gpus.size()), "`device` {}: this machine has {} CUDA devices", options.device,
            info.gpus.size());
    const std::string& problem = info.gpus[static_cast<size_t>(*gpu)].problem;
    require(problem.empty(), "`device` {}: {}", options.device, problem);
    return make_cuda_backend(*gpu, options);
}

}  // namespace ggq
