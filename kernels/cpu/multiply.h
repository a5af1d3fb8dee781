// Chooses the engine of a product by its shape.
#pragma once

#include "kernels/cpu/few_rows.h"
#include "kernels/cpu/gemm.h"

namespace ggq::cpu::GGQ_ISA {

template <typename T>
void multiply(const CpuContext& ctx, const Product<T>& p, std::span<std::byte> workspace) {
    if (p.m <= kFewRows && !p.mask) few_rows(*ctx.threads, p, workspace.data());
    else gemm(*ctx.threads, p, workspace.data());
}

}  // namespace ggq::cpu::GGQ_ISA
