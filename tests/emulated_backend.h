// A CPU backend that takes 16-bit computing types by emulation: every op computes in float on the exact values of its
// inputs, and what it writes is rounded. This is the reference of 16-bit kernels elsewhere.
#pragma once

#include <deque>
#include <memory>
#include <string_view>
#include <vector>

#include "ggq/backend.h"
#include "ggq/op_table.h"

namespace ggq::test {

class EmulatedBackend final : public Backend {
public:
    const char* name() const override { return "emulated"; }
    std::string description() const override { return "16-bit computing types by rounding, on the CPU"; }
    DType compute_dtype() const override { return DType::bf16; }
    void check_supported(const OpCall&) const override {}

    int64_t workspace_bytes(const OpCall& call) const override {
        std::vector<TensorType> in(call.in.begin(), call.in.end()), out(call.out.begin(), call.out.end());
        if (!is_converter(call.op))
            for (auto* types : {&in, &out})
                for (TensorType& t : *types)
                    if (info(t.dtype).floating && info(t.dtype).bytes < 4) t.dtype = DType::f32;
        return cpu_->workspace_bytes({call.op, in, out, call.params, call.where});
    }

    void run(const OpDef& op, const KernelArgs& args) override {
        if (is_converter(op)) return cpu_->run(op, args);
        std::deque<std::vector<float>> memory;
        std::vector<View> in, out;
        for (const View& v : args.in) in.push_back(widened(v, memory, true));
        for (size_t i = 0; i < args.out.size(); ++i) {
            const bool in_place = i < args.in.size() && args.in[i].data == args.out[i].data;
            out.push_back(in_place ? in[i] : widened(args.out[i], memory, false));
        }
        cpu_->run(op, {out, in, args.params, args.workspace});
        for (size_t i = 0; i < args.out.size(); ++i)
            if (out[i].dtype != args.out[i].dtype) cast(out[i], args.out[i]);
    }

    void synchronize() override {}
    void copy_in(void* device, const void* host, int64_t bytes) override { cpu_->copy_in(device, host, bytes); }
    void copy_out(void* host, const void* device, int64_t bytes) override { cpu_->copy_out(host, device, bytes); }
    void set_bytes(void* device, std::byte value, int64_t bytes) override { cpu_->set_bytes(device, value, bytes); }
    bool reads_host_memory() const override { return true; }
    int64_t free_bytes() const override { return cpu_->free_bytes(); }

private:
    // Ops whose CPU kernels read and write 16-bit types themselves.
    static bool is_converter(const OpDef& op) {
        const std::string_view name = op.name;
        return name == "cast" || name == "copy" || name == "quantize" || name == "dequantize";
    }

    void cast(const View& from, const View& to) const { cpu_->run(cast_op, {{&to, 1}, {&from, 1}, nullptr, {}}); }

    // The view itself, or one of floats with the same values.
    View widened(const View& v, std::deque<std::vector<float>>& memory, bool with_values) const {
        if (!info(v.dtype).floating || info(v.dtype).bytes >= 4) return v;
        const auto n = static_cast<size_t>(v.n_elems());
        View wide = make_view(memory.emplace_back(n).data(), DType::f32, v.shape);
        if (!with_values) return wide;
        std::vector<uint16_t> values(n);
        const View whole = make_view(values.data(), v.dtype, v.shape);
        cpu_->run(copy_op, {{&whole, 1}, {&v, 1}, nullptr, {}});
        cast(whole, wide);
        return wide;
    }

    void* do_allocate(int64_t bytes) override { return cpu_->allocate(bytes); }
    void do_release(void* data, int64_t bytes) noexcept override { cpu_->release(data, bytes); }

    std::unique_ptr<Backend> cpu_ = make_cpu_backend(1);
};

}  // namespace ggq::test
