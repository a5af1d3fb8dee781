#include "ggq/planning_backend.h"

#include <algorithm>

#include "ggq/error.h"
#include "ggq/gpu_table.h"
#include "ggq/host_memory.h"

namespace ggq {

namespace {

class PlanningBackend final : public Backend {
public:
    PlanningBackend(GpuModel gpu, int64_t memory_bytes, bool migrates)
        : gpu_(std::move(gpu)),
          limit_(memory_bytes > 0 ? std::min(memory_bytes, gpu_.memory_bytes) : gpu_.memory_bytes),
          migrates_(migrates) {}

    const char* name() const override { return "plan"; }
    std::string description() const override { return fmt::format("a plan for {}", gpu_.part); }
    DType compute_dtype() const override { return gpu_.device.has_bf16() ? DType::bf16 : DType::f16; }
    void check_supported(const OpCall& call) const override { check_gpu_supports(call, gpu_.device); }
    int64_t workspace_bytes(const OpCall& call) const override {
        return call.op.cuda_workspace ? call.op.cuda_workspace(call, gpu_.device) : 0;
    }
    Costs costs() const override { return gpu_.costs; }
    int restores(const OpCall& call) const override {
        return call.op.cuda_restores ? call.op.cuda_restores(call, gpu_.device) : -1;
    }
    bool reads_host_memory() const override { return false; }
    int64_t free_bytes() const override { return std::max<int64_t>(0, limit_ - gpu_.overhead_bytes - kGpuReserve); }
    // Of a machine that is not known; of unified memory no more than the card has.
    int64_t free_host_bytes() const override { return migrates_ ? gpu_.memory_bytes : INT64_MAX / 2; }
    bool migrates() const override { return migrates_; }
    int64_t overhead_bytes() const override { return gpu_.overhead_bytes; }
    int64_t overhead_bytes_with(int64_t n_ops, int64_t n_copies) const override {
        return gpu_.overhead_bytes + kKernelBytes + recorded_bytes(n_ops, n_copies);
    }

    void run(const OpDef&, const KernelArgs&) override { refuse(); }
    void synchronize() override {}
    void copy_in(void*, const void*, int64_t) override { refuse(); }
    void copy_out(void*, const void*, int64_t) override { refuse(); }
    void set_bytes(void*, std::byte, int64_t) override { refuse(); }

private:
    static void refuse() { GGQ_ASSERT(false, "a plan is not a device"); }
    void* do_allocate(int64_t) override { return nullptr; }
    void do_release(void*, int64_t) noexcept override {}

    GpuModel gpu_;
    int64_t limit_;
    bool migrates_;
};

}  // namespace

std::unique_ptr<Backend> make_planning_backend(const std::string& gpu, int64_t memory_bytes, bool migrates) {
    return std::make_unique<PlanningBackend>(gpu_model(gpu), memory_bytes, migrates);
}

}  // namespace ggq
