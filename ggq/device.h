// Which devices there are, and a backend for the one that was asked for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ggq/backend.h"
#include "kernels/cuda/tuning.h"

namespace ggq {

struct GpuInfo {
    int index = 0;
    std::string name;
    int capability = 0;  // 10 * major + minor
    int n_multiprocessors = 0;
    int64_t memory_bytes = 0;
    int64_t shared_bytes = 0;  // that a block may ask for
    bool bf16 = false;
    std::string problem;  // why it cannot be used; empty if it can
};

struct CudaInfo {
    bool built = false;         // whether this build has CUDA code
    std::string architectures;  // that it holds code for: "80 90a", the last one as PTX too
    int runtime_version = 0;    // 1000 * major + 10 * minor, as CUDA counts
    int driver_version = 0;     // 0 without a driver
    std::string problem;        // one sentence if no device can be used, else empty
    std::vector<GpuInfo> gpus;
};

CudaInfo cuda_info();

// cuBLAS: file and version, or what was looked for. Loads the library, which is large.
std::string cublas_info();

// Whether code for `architectures` ("75 80 90a", ascending, the last one as PTX too) runs on a device: machine code on
// later devices of its generation ("90a" on that very one), PTX on all later ones.
bool cuda_code_runs_on(const std::string& architectures, int capability);

// The GPU that a device's name stands for: N of "cuda:N", 0 of "cuda"; nothing for auto and cpu. Throws Error for any
// other name.
std::optional<int> gpu_of(const std::string& device);

// How what is paged moves between host and GPU.
enum class Pager : uint8_t {
    automatic,  // explicit where the host's memory can be pinned
    copies,     // pinned memory, copied into the arena: "explicit"
    managed     // unified memory, moved by prefetch
};

struct DeviceOptions {
    std::string device = "auto";  // auto, cpu, cuda, cuda:N
    int threads = 0;              // of the CPU; 0: every core
    int64_t gpu_memory = 0;       // most bytes to hold on a GPU, overhead included; 0: all of it
    bool tf32 = false;            // products in f32 on a GPU may round their factors to TF32
    bool cublas = true;           // false: products are our own even where cuBLAS is there
    Pager pager = Pager::automatic;
    // Of a GPU: instead of what ggq/gpu_table.h has for it.
    std::optional<Costs> costs = {};
    std::optional<cuda::Tuning> tuning = {};
};

// auto is the first GPU that this build can use, else the CPU. Throws Error when the device is not there or cannot be
// used.
std::unique_ptr<Backend> make_backend(const DeviceOptions& options);

// Why `auto` is the CPU on a machine with an NVIDIA driver; empty where it is not, or there is none.
std::string why_auto_is_cpu();

}  // namespace ggq
