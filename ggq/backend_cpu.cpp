// The CPU as a backend: plain memory, a thread pool, and the kernels of the best instruction set that the machine has.
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "ggq/backend.h"
#include "ggq/error.h"
#include "ggq/host_memory.h"
#include "kernels/cpu/threads.h"
#include "kernels/rounding.h"

namespace ggq {

namespace {

constexpr size_t kAlignment = 256, kHugePage = size_t{2} << 20;

// Processors that this process may use: affinity and container limits make it fewer than the machine has.
int usable_processors() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

class CpuBackend final : public Backend {
public:
    explicit CpuBackend(int n_threads)
        : threads_(n_threads > 0 ? n_threads : usable_processors()), isa_(detect_cpu_isa()) {}

    const char* name() const override { return "cpu"; }
    std::string description() const override {
        return fmt::format("cpu, {} threads, {}", threads_.size(), ggq::name(isa_));
    }
    DType compute_dtype() const override { return DType::f32; }

    void check_supported(const OpCall& call) const override {
        GGQ_ASSERT(static_cast<bool>(call.op.kernel.cpu), std::string(call.op.name) + " has no CPU kernel");
        const Signature signature = parse_signature(call.op, std::ssize(call.in));
        for (size_t i = 0; i < call.in.size(); ++i) {
            const TensorType& t = call.in[i];
            require(signature.in[i].type != "real" || t.dtype == DType::f32 || t.dtype == DType::f64,
                    "[{}]{}{} input {}: expected f32 or f64 on the CPU, got {}; cast it first", call.op.name,
                    call.where.empty() ? "" : " ", call.where, signature.in[i].name, to_string(t));
        }
    }

    int64_t workspace_bytes(const OpCall& call) const override {
        return call.op.cpu_workspace ? call.op.cpu_workspace(call, threads_.size()) : 0;
    }

    void run(const OpDef& op, const KernelArgs& args) override { op.kernel.cpu[isa_]({&threads_}, args); }
    void synchronize() override {}

    void copy_in(void* device, const void* host, int64_t bytes) override {
        if (bytes > 0) std::memcpy(device, host, static_cast<size_t>(bytes));
    }
    void copy_out(void* host, const void* device, int64_t bytes) override {
        if (bytes > 0) std::memcpy(host, device, static_cast<size_t>(bytes));
    }
    void set_bytes(void* device, std::byte value, int64_t bytes) override {
        if (bytes > 0) std::memset(device, std::to_integer<int>(value), static_cast<size_t>(bytes));
    }
    bool reads_host_memory() const override { return true; }
    int64_t free_bytes() const override { return available_host_bytes(); }

private:
    void* do_allocate(int64_t bytes) override {
        const auto wanted = static_cast<size_t>(bytes);
        const size_t alignment = wanted < kHugePage ? kAlignment : kHugePage;
        void* data = std::aligned_alloc(alignment, round_up(wanted, alignment));
        // Fewer addresses to translate while weights stream through.
        if (data && alignment == kHugePage) madvise(data, wanted, MADV_HUGEPAGE);
        return data;
    }
    void do_release(void* data, int64_t) noexcept override { std::free(data); }

    ThreadPool threads_;
    CpuIsa isa_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int n_threads) { return std::make_unique<CpuBackend>(n_threads); }

}  // namespace ggq
