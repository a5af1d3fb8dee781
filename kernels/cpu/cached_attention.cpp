// Rotation, cache writes and attention of the newest tokens: a row of the plain kernels, with the same bits.
#include "kernels/composed.h"
#include "kernels/kernels.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

struct Plain {
    using Context = CpuContext;
    static constexpr auto rope = &GGQ_ISA::rope, cache_write = &GGQ_ISA::cache_write, attention = &GGQ_ISA::attention;
};

}  // namespace

void cached_attention(const CpuContext& ctx, const KernelArgs& args) { Composed<Plain>(ctx, args).cached_attention(); }

}  // namespace ggq::cpu::GGQ_ISA
