// The product engines, compiled here once for float and double.
#include "kernels/cpu/few_rows.h"
#include "kernels/cpu/gemm.h"

namespace ggq::cpu::GGQ_ISA {

template <typename T>
void multiply(const CpuContext& ctx, const Product<T>& p, std::span<std::byte> workspace) {
    bool few = p.m <= kFewRows && !p.mask;
    for (int t = 0; t < p.n_terms; ++t) few = few && p.terms[t].w.k_stride == 1;
    if (few) few_rows(*ctx.threads, p, workspace.data());
    else gemm(*ctx.threads, p, workspace.data());
}

template void multiply(const CpuContext&, const Product<float>&, std::span<std::byte>);
template void multiply(const CpuContext&, const Product<double>&, std::span<std::byte>);

}  // namespace ggq::cpu::GGQ_ISA
