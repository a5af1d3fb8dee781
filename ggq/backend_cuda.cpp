// A CUDA device as a backend: a stream on which all ops run in order and one for copies each way, two pinned buffers
// through which the host's bytes come in, cuBLAS if the machine has it, and CUDA graphs as recordings.
#include "ggq/backend_cuda.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "ggq/error.h"
#include "ggq/gpu_table.h"
#include "ggq/host_blocks.h"
#include "ggq/host_memory.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/messages.h"

namespace ggq {

namespace {

constexpr int kLeastDriver = 12000;       // CUDA 12.0
constexpr int kLeastCapability = 75;      // Turing
constexpr int64_t kStageBytes = 4 << 20;  // of each pinned buffer

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

GpuInfo gpu_info(int index) {
    cudaDeviceProp p{};
    GpuInfo gpu;
    gpu.index = index;
    if (const cudaError_t status = cudaGetDeviceProperties(&p, index); status != cudaSuccess) {
        gpu.problem = cudaGetErrorString(status);
        cudaGetLastError();  // of this device, not of the next launch
        return gpu;
    }
    gpu.name = p.name;
    gpu.capability = 10 * p.major + p.minor;
    gpu.n_multiprocessors = p.multiProcessorCount;
    gpu.memory_bytes = static_cast<int64_t>(p.totalGlobalMem);
    gpu.shared_bytes = static_cast<int64_t>(p.sharedMemPerBlockOptin);
    gpu.bf16 = gpu.capability >= 80;
    if (gpu.capability < kLeastCapability)
        gpu.problem = fmt::format("{}: compute capability {}.{} is below 7.5", gpu.name, p.major, p.minor);
    else if (!cuda_code_runs_on(GGQ_CUDA_ARCHS, gpu.capability))
        gpu.problem = fmt::format(
            "{}: this build has code for {}, not for compute capability {}.{}; build with "
            "-DGGQ_CUDA_ARCH={}{}",
            gpu.name, GGQ_CUDA_ARCHS, p.major, p.minor, p.major, p.minor);
    return gpu;
}

std::string driver_problem(cudaError_t status, int driver_version) {
    if (driver_version == 0)
        return fmt::format("no NVIDIA driver was found (libcuda.so.1, for CUDA {} or later)",
                           version_text(CUDART_VERSION));
    if (driver_version < kLeastDriver)
        return fmt::format("the NVIDIA driver supports CUDA {}, this program needs 12.0 or later; update the driver",
                           version_text(driver_version));
    if (status == cudaErrorInsufficientDriver)
        return fmt::format("the NVIDIA driver supports CUDA {}, this program was built with CUDA {}; update the driver",
                           version_text(driver_version), version_text(CUDART_VERSION));
    if (status == cudaErrorNoDevice) return "the NVIDIA driver finds no GPU (CUDA_VISIBLE_DEVICES may hide it)";
    if (status != cudaSuccess) return fmt::format("CUDA: {}", cudaGetErrorString(status));
    return "";
}

struct MemoryInfo {
    int64_t free = -1, total = 0;
};

// Memory of a device before this process has a context on it; free is -1 where the management library is missing. Its
// header is not part of every toolkit: these are its published signatures, 0 being success.
MemoryInfo before_context(int index) {
    struct Memory {
        unsigned long long total, free, used;
    } memory{};
    void* library = dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!library) return {};
    const auto init = reinterpret_cast<int (*)()>(dlsym(library, "nvmlInit_v2"));
    const auto find =
        reinterpret_cast<int (*)(const char*, void**)>(dlsym(library, "nvmlDeviceGetHandleByPciBusId_v2"));
    const auto ask = reinterpret_cast<int (*)(void*, Memory*)>(dlsym(library, "nvmlDeviceGetMemoryInfo"));
    char bus[32] = {};
    void* device = nullptr;
    const bool known = init && find && ask && cudaDeviceGetPCIBusId(bus, sizeof bus, index) == cudaSuccess &&
                       init() == 0 && find(bus, &device) == 0 && ask(device, &memory) == 0;
    if (!known) return {};
    return {static_cast<int64_t>(memory.free), static_cast<int64_t>(memory.total)};
}

class CudaRecording final : public Recording {
public:
    CudaRecording(cudaGraphExec_t graph, cudaStream_t stream) : graph_(graph), stream_(stream) {}
    ~CudaRecording() override { cudaGraphExecDestroy(graph_); }
    CudaRecording(const CudaRecording&) = delete;
    CudaRecording& operator=(const CudaRecording&) = delete;
    void replay() override { GGQ_CUDA_CHECK(cudaGraphLaunch(graph_, stream_)); }

private:
    cudaGraphExec_t graph_;
    cudaStream_t stream_;
};

class CudaBackend final : public Backend {
public:
    CudaBackend(int index, const DeviceOptions& options)
        : limit_(options.gpu_memory), pager_(options.pager), host_blocks_(options.pager), costs_(options.costs) {
        device_.index = index;
        const MemoryInfo before = before_context(index);
        GGQ_CUDA_CHECK(cudaSetDevice(index));
        open_device();
        device_.tuning = options.tuning.value_or(gpu_tuning(device_name_));
        // The library speaks of the whole card, of which a slice may be ours (MIG). Without it, what other processes
        // hold is counted as ours, which keeps to the limit all the same.
        const int64_t total = memory_info().total;
        const bool whole_card = before.total - total < total / 16;
        free_before_ = before.free >= 0 && whole_card ? before.free : total;
        for (cudaStream_t& s : streams_) GGQ_CUDA_CHECK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
        for (Stage& s : stages_) {
            GGQ_CUDA_CHECK(cudaMallocHost(&s.data, kStageBytes));
            GGQ_CUDA_CHECK(cudaEventCreateWithFlags(&s.free, cudaEventDisableTiming));
        }
        GGQ_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&messages_), sizeof(cuda::Messages)));
        GGQ_CUDA_CHECK(cudaMemset(messages_, 0, sizeof(cuda::Messages)));
        std::string problem;
        if (options.cublas) blas_ = cuda::Blas::open(problem);
        if (blas_) blas_->start(options.tf32);
        count_overhead();
        overhead_at_start_ = overhead_;
        unified_room_ = memory_info().free;
    }

    ~CudaBackend() override {
        cudaSetDevice(device_.index);
        for (cudaStream_t s : streams_) cudaStreamSynchronize(s);
        blas_.reset();
        for (cudaEvent_t e : events_) cudaEventDestroy(e);
        for (cudaEvent_t e : stamps_) cudaEventDestroy(e);
        for (cudaEvent_t e : milestones_) cudaEventDestroy(e);
        for (Stage& s : stages_) {
            cudaEventDestroy(s.free);
            cudaFreeHost(s.data);
        }
        for (cudaStream_t s : streams_) cudaStreamDestroy(s);
        cudaFree(messages_);
        cudaGetLastError();  // a later launch is not to be blamed
    }

    CudaBackend(const CudaBackend&) = delete;
    CudaBackend& operator=(const CudaBackend&) = delete;

    const char* name() const override { return "cuda"; }
    std::string description() const override {
        return fmt::format("cuda:{}, {}, {}", device_.index, device_name_,
                           blas_ ? blas_->library() : "no cuBLAS: products are our own and slower");
    }
    DType compute_dtype() const override { return device_.has_bf16() ? DType::bf16 : DType::f16; }

    void check_supported(const OpCall& call) const override { check_gpu_supports(call, device_); }

    int64_t workspace_bytes(const OpCall& call) const override {
        return call.op.cuda_workspace ? call.op.cuda_workspace(call, device_) : 0;
    }

    int restores(const OpCall& call) const override {
        return call.op.cuda_restores ? call.op.cuda_restores(call, device_) : -1;
    }

    void run(const OpDef& op, const KernelArgs& args) override { run_on(Lane::compute, op, args); }
    void run_aside(const OpDef& op, const KernelArgs& args) override { run_on(Lane::aside, op, args); }

    void copy(Lane lane, void* to, const void* from, int64_t bytes) override {
        GGQ_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_of(lane)));
    }
    bool migrates() const override { return pager_ == Pager::managed; }
    void migrate(Lane lane, void* data, int64_t bytes) override {
        migrated_ = true;
        prefetch(data, bytes, lane == Lane::in, stream_of(lane));
    }
    void mark(Lane lane, int32_t event) override {
        GGQ_CUDA_CHECK(cudaEventRecord(event_of(events_, event, cudaEventDisableTiming), stream_of(lane)));
    }
    void wait(Lane lane, int32_t event) override {
        GGQ_CUDA_CHECK(cudaStreamWaitEvent(stream_of(lane), event_of(events_, event, cudaEventDisableTiming), 0));
    }

    void stamp(Lane lane, int32_t stamp) override {
        const unsigned flags = recording_ ? cudaEventRecordExternal : cudaEventRecordDefault;
        GGQ_CUDA_CHECK(cudaEventRecordWithFlags(event_of(stamps_, stamp, cudaEventDefault), stream_of(lane), flags));
    }
    double seconds_between(int32_t stamp, int32_t later_stamp) const override {
        float milliseconds = 0;
        GGQ_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, stamps_[static_cast<size_t>(stamp)],
                                            stamps_[static_cast<size_t>(later_stamp)]));
        return static_cast<double>(milliseconds) * 1e-3;
    }

    void milestone(int32_t number) override {
        GGQ_CUDA_CHECK(cudaEventRecord(event_of(milestones_, number, cudaEventDisableTiming), compute()));
    }
    void await(int32_t number) override {
        GGQ_CUDA_CHECK(cudaEventSynchronize(event_of(milestones_, number, cudaEventDisableTiming)));
    }

    void synchronize() override {
        for (cudaStream_t s : streams_) GGQ_CUDA_CHECK(cudaStreamSynchronize(s));
    }

    Costs costs() const override { return costs_ ? *costs_ : gpu_costs(device_name_, device_); }

    bool records() const override { return true; }
    std::unique_ptr<Recording> record(const std::function<void()>& steps) override {
        GGQ_CUDA_CHECK(cudaSetDevice(device_.index));
        cudaGraph_t graph = nullptr;
        GGQ_CUDA_CHECK(cudaStreamBeginCapture(compute(), cudaStreamCaptureModeThreadLocal));
        recording_ = true;
        try {
            steps();
            recording_ = false;
        } catch (...) {
            recording_ = false;
            cudaStreamEndCapture(compute(), &graph);
            if (graph) cudaGraphDestroy(graph);
            cudaGetLastError();
            throw;
        }
        GGQ_CUDA_CHECK(cudaStreamEndCapture(compute(), &graph));
        cudaGraphExec_t executable = nullptr;
        const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
        cudaGraphDestroy(graph);
        cuda::check(status, "cudaGraphInstantiate");
        auto recording = std::make_unique<CudaRecording>(executable, compute());
        GGQ_CUDA_CHECK(cudaGraphUpload(executable, compute()));
        synchronize();
        count_overhead();
        return recording;
    }

    void copy_in(void* device, const void* host, int64_t bytes) override {
        const auto* from = static_cast<const std::byte*>(host);
        auto* to = static_cast<std::byte*>(device);
        for (int64_t done = 0; done < bytes; done += kStageBytes) {
            const auto n = static_cast<size_t>(std::min(kStageBytes, bytes - done));
            Stage& stage = stages_[turn_++ % 2];
            GGQ_CUDA_CHECK(cudaEventSynchronize(stage.free));
            std::memcpy(stage.data, from + done, n);
            GGQ_CUDA_CHECK(cudaMemcpyAsync(to + done, stage.data, n, cudaMemcpyHostToDevice, compute()));
            GGQ_CUDA_CHECK(cudaEventRecord(stage.free, compute()));
        }
    }

    void copy_out(void* host, const void* device, int64_t bytes) override {
        if (bytes == 0) return;
        GGQ_CUDA_CHECK(cudaMemcpyAsync(host, device, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, compute()));
        synchronize();
    }

    void set_bytes(void* device, std::byte value, int64_t bytes) override {
        if (bytes > 0)
            GGQ_CUDA_CHECK(cudaMemsetAsync(device, std::to_integer<int>(value), static_cast<size_t>(bytes), compute()));
    }

    bool reads_host_memory() const override { return false; }

    // Of unified memory no more than the device has room for: beyond that drivers thrash, and some do worse.
    int64_t free_host_bytes() const override {
        const int64_t available = available_host_bytes();
        return pager_ == Pager::managed ? std::min(available, unified_room_ - unified_bytes_) : available;
    }
    std::string host_memory_form() const override { return host_blocks_.form(); }

    int64_t free_bytes() const override {
        const int64_t left = memory_info().free - kGpuReserve;
        return std::max<int64_t>(0, limit_ > 0 ? std::min(left, limit_ - kGpuReserve - held_bytes()) : left);
    }

    // The context, cuBLAS, kernels and recordings.
    int64_t overhead_bytes() const override { return overhead_; }
    int64_t overhead_bytes_with(int64_t n_ops, int64_t n_copies) const override {
        const int64_t taken = kKernelBytes + recorded_bytes(n_ops, n_copies);
        return std::max(overhead_, overhead_at_start_ + taken);
    }

private:
    struct Stage {
        void* data = nullptr;
        cudaEvent_t free = nullptr;
    };

    void run_on(Lane lane, const OpDef& op, const KernelArgs& args) {
        GGQ_CUDA_CHECK(cudaSetDevice(device_.index));
        op.kernel.cuda({stream_of(lane), &device_, blas_.get(), messages_}, args);
    }

    void open_device() {
        const GpuInfo gpu = gpu_info(device_.index);
        device_.capability = gpu.capability;
        device_.n_sms = gpu.n_multiprocessors;
        device_.shared_bytes = gpu.shared_bytes;
        device_.hopper = gpu.capability == 90 && cuda::uses_hopper_forms();
        device_name_ = gpu.name;
    }

    MemoryInfo memory_info() const {
        GGQ_CUDA_CHECK(cudaSetDevice(device_.index));
        size_t free = 0, total = 0;
        GGQ_CUDA_CHECK(cudaMemGetInfo(&free, &total));
        return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
    }

    // On the device by this process.
    int64_t held_bytes() const { return memory().bytes + overhead_; }

    // Where the driver is known to take memory, and at no other time: what changes between is other processes'.
    void count_overhead() {
        if (migrated_) return;
        overhead_ = std::max(overhead_, free_before_ - memory_info().free - memory().bytes);
        require(limit_ == 0 || held_bytes() <= limit_,
                "`gpu_memory`: the process holds {:.2f} GiB on the device, {:.2f} GiB of them the driver's; the limit "
                "is {:.2f} GiB",
                static_cast<double>(held_bytes()) / (1 << 30), static_cast<double>(overhead_) / (1 << 30),
                static_cast<double>(limit_) / (1 << 30));
    }

    void* do_allocate(int64_t bytes) override {
        GGQ_CUDA_CHECK(cudaSetDevice(device_.index));
        if (limit_ > 0 && held_bytes() + bytes > limit_) return nullptr;
        void* data = nullptr;
        const cudaError_t status = cudaMalloc(&data, static_cast<size_t>(bytes));
        if (status == cudaErrorMemoryAllocation) {
            cudaGetLastError();  // it is not a lasting one
            return nullptr;
        }
        cuda::check(status, "cudaMalloc");
        return data;
    }

    void do_release(void* data, int64_t) noexcept override {
        cudaSetDevice(device_.index);
        for (cudaStream_t s : streams_) cudaStreamSynchronize(s);
        cudaFree(data);
        cudaGetLastError();
    }

    void* do_allocate_host(int64_t bytes) override {
        GGQ_CUDA_CHECK(cudaSetDevice(device_.index));
        return host_blocks_.take([&] { return pinned(bytes); }, [&] { return managed(bytes); });
    }
    void do_release_host(void* data, int64_t bytes) noexcept override {
        cudaSetDevice(device_.index);
        for (cudaStream_t s : streams_) cudaStreamSynchronize(s);
        if (host_blocks_.forget_unified(data)) {
            cudaFree(data);
            unified_bytes_ -= bytes;
        } else {
            cudaFreeHost(data);
        }
        cudaGetLastError();
    }

    // Mapped too, so that kernels read it by the same address; null where the driver pins no more.
    static void* pinned(int64_t bytes) {
        void* data = nullptr;
        if (cudaHostAlloc(&data, static_cast<size_t>(bytes), cudaHostAllocMapped) == cudaSuccess) return data;
        cudaGetLastError();  // it is not a lasting one
        return nullptr;
    }

    // Its home is the host, where kernels read it without moving it; null where the device cannot do that.
    void* managed(int64_t bytes) {
        int concurrent = 0;
        cudaDeviceGetAttribute(&concurrent, cudaDevAttrConcurrentManagedAccess, device_.index);
        void* data = nullptr;
        const auto n = static_cast<size_t>(bytes);
        const bool has_room = unified_bytes_ + bytes <= unified_room_;
        if (concurrent == 0 || !has_room || cudaMallocManaged(&data, n) != cudaSuccess) {
            cudaGetLastError();
            return nullptr;
        }
        if (advise(data, n, cudaMemAdviseSetPreferredLocation, false) != cudaSuccess ||
            advise(data, n, cudaMemAdviseSetAccessedBy, true) != cudaSuccess) {
            cudaFree(data);
            cudaGetLastError();
            return nullptr;
        }
        unified_bytes_ += bytes;
        return data;
    }

#if CUDART_VERSION >= 13000
    cudaMemLocation location(bool on_device) const {
        cudaMemLocation place{};
        place.type = on_device ? cudaMemLocationTypeDevice : cudaMemLocationTypeHost;
        place.id = on_device ? device_.index : 0;
        return place;
    }
    cudaError_t advise(void* data, size_t bytes, cudaMemoryAdvise advice, bool on_device) const {
        return cudaMemAdvise(data, bytes, advice, location(on_device));
    }
    void prefetch(void* data, int64_t bytes, bool to_device, cudaStream_t stream) const {
        GGQ_CUDA_CHECK(cudaMemPrefetchAsync(data, static_cast<size_t>(bytes), location(to_device), 0, stream));
    }
#else
    int location(bool on_device) const { return on_device ? device_.index : cudaCpuDeviceId; }
    cudaError_t advise(void* data, size_t bytes, cudaMemoryAdvise advice, bool on_device) const {
        return cudaMemAdvise(data, bytes, advice, location(on_device));
    }
    void prefetch(void* data, int64_t bytes, bool to_device, cudaStream_t stream) const {
        GGQ_CUDA_CHECK(cudaMemPrefetchAsync(data, static_cast<size_t>(bytes), location(to_device), stream));
    }
#endif

    cudaStream_t stream_of(Lane lane) const { return streams_[static_cast<size_t>(lane)]; }
    cudaStream_t compute() const { return stream_of(Lane::compute); }

    // Made when first asked for.
    static cudaEvent_t event_of(std::vector<cudaEvent_t>& events, int32_t event, unsigned flags) {
        while (events.size() <= static_cast<size_t>(event)) {
            cudaEvent_t next = nullptr;
            GGQ_CUDA_CHECK(cudaEventCreateWithFlags(&next, flags));
            events.push_back(next);
        }
        return events[static_cast<size_t>(event)];
    }

    int64_t limit_;
    Pager pager_;
    bool migrated_ = false;    // from then on the driver's memory holds pages too, for as long as it likes
    int64_t free_before_ = 0;  // on the device, before this process had a context there
    int64_t overhead_ = 0;     // the most counted so far
    int64_t overhead_at_start_ = 0;
    cuda::Device device_;
    std::string device_name_;
    cudaStream_t streams_[std::size(kLanes)] = {};
    std::vector<cudaEvent_t> events_, stamps_, milestones_;
    bool recording_ = false;
    HostBlocks host_blocks_;
    std::optional<Costs> costs_;  // nothing: as ggq/gpu_table.h has them
    int64_t unified_room_ = 0;    // free on the device when it was opened: the same for who plans and who allocates
    int64_t unified_bytes_ = 0;
    Stage stages_[2];
    size_t turn_ = 0;
    std::unique_ptr<cuda::Blas> blas_;
    cuda::Messages* messages_ = nullptr;
};

}  // namespace

CudaInfo query_cuda() {
    CudaInfo info;
    info.built = true;
    info.architectures = GGQ_CUDA_ARCHS;
    info.runtime_version = CUDART_VERSION;
    cudaDriverGetVersion(&info.driver_version);
    int n = 0;
    const cudaError_t status = cudaGetDeviceCount(&n);
    cudaGetLastError();
    info.problem = driver_problem(status, info.driver_version);
    if (!info.problem.empty()) return info;
    for (int i = 0; i < n; ++i) info.gpus.push_back(gpu_info(i));
    return info;
}

std::string query_cublas() {
    std::string missing;
    const auto blas = cuda::Blas::open(missing);
    return blas ? fmt::format("{}, version {}", blas->library(), blas->version()) : missing;
}

std::unique_ptr<Backend> make_cuda_backend(int index, const DeviceOptions& options) {
    try {
        return std::make_unique<CudaBackend>(index, options);
    } catch (const Error& e) {
        fail("cuda:{} cannot be opened: {}; use another `device`, such as cpu", index, e.what());
    }
}

}  // namespace ggq
