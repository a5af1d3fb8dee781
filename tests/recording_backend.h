// A CPU backend that records: what a device with captured graphs does, without one.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "ggq/backend.h"

namespace ggq::test {

class RecordingBackend final : public Backend {
public:
    const char* name() const override { return "recording"; }
    std::string description() const override { return cpu_->description(); }
    DType compute_dtype() const override { return cpu_->compute_dtype(); }
    void check_supported(const OpCall& call) const override { cpu_->check_supported(call); }
    int64_t workspace_bytes(const OpCall& call) const override { return cpu_->workspace_bytes(call); }
    void synchronize() override { cpu_->synchronize(); }
    void copy_in(void* device, const void* host, int64_t bytes) override { cpu_->copy_in(device, host, bytes); }
    void copy_out(void* host, const void* device, int64_t bytes) override { cpu_->copy_out(host, device, bytes); }
    void set_bytes(void* device, std::byte value, int64_t bytes) override { cpu_->set_bytes(device, value, bytes); }
    bool reads_host_memory() const override { return true; }
    int64_t free_bytes() const override { return cpu_->free_bytes(); }
    bool records() const override { return true; }

    void run(const OpDef& op, const KernelArgs& args) override {
        if (recorded_)
            recorded_->steps.push_back({&op,
                                        {args.out.begin(), args.out.end()},
                                        {args.in.begin(), args.in.end()},
                                        args.params,
                                        args.workspace});
        else cpu_->run(op, args);
    }

    std::unique_ptr<Recording> record(const std::function<void()>& steps) override {
        if (on_record) on_record();
        auto recording = std::make_unique<Steps>();
        recording->backend = this;
        recorded_ = recording.get();
        steps();
        recorded_ = nullptr;
        return recording;
    }

    std::function<void()> on_record;
    int n_replays = 0;

private:
    struct Kept {
        const OpDef* op;
        std::vector<View> out, in;
        const ParamBlock* params;
        std::span<std::byte> workspace;
    };

    struct Steps final : Recording {
        void replay() override {
            ++backend->n_replays;
            for (const Kept& s : steps) backend->cpu_->run(*s.op, {s.out, s.in, s.params, s.workspace});
        }
        RecordingBackend* backend = nullptr;
        std::vector<Kept> steps;
    };

    void* do_allocate(int64_t bytes) override { return cpu_->allocate(bytes); }
    void do_release(void* data, int64_t bytes) noexcept override { cpu_->release(data, bytes); }

    std::unique_ptr<Backend> cpu_ = make_cpu_backend(1);
    Steps* recorded_ = nullptr;
};

}  // namespace ggq::test
