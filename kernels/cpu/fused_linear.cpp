// Linear layers of text generation with what stands around them. Nothing is gained here by fusing: they are rows of the
// plain kernels, with the same bits.
#include "kernels/composed.h"
#include "kernels/kernels.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

struct Plain {
    using Context = CpuContext;
    static constexpr auto rms_norm = &GGQ_ISA::rms_norm, matmul = &GGQ_ISA::matmul,
                          quant_matmul = &GGQ_ISA::quant_matmul, lora_down = &GGQ_ISA::lora_down,
                          lora_linear = &GGQ_ISA::lora_linear, swiglu = &GGQ_ISA::swiglu, add = &GGQ_ISA::add;
};

}  // namespace

void norm_qkv(const CpuContext& ctx, const KernelArgs& args) { Composed<Plain>(ctx, args).norm_qkv(); }
void norm_swiglu(const CpuContext& ctx, const KernelArgs& args) { Composed<Plain>(ctx, args).norm_swiglu(); }
void add_linear(const CpuContext& ctx, const KernelArgs& args) { Composed<Plain>(ctx, args).add_linear(); }

void lora_norm_qkv(const CpuContext& ctx, const KernelArgs& args) { Composed<Plain>(ctx, args).lora_norm_qkv(); }
void lora_norm_swiglu(const CpuContext& ctx, const KernelArgs& args) { Composed<Plain>(ctx, args).lora_norm_swiglu(); }
void lora_add_linear(const CpuContext& ctx, const KernelArgs& args) { Composed<Plain>(ctx, args).lora_add_linear(); }

}  // namespace ggq::cpu::GGQ_ISA
