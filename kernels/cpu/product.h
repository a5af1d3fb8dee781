// The one product behind matmul, quant_matmul, lora_linear and linear_cross_entropy:
//   y[m,n] = sum over terms of factor * x[m,k] w[n,k]^T
// A second term is how a low-rank update rides in the same pass: its k is simply appended. multiply.cpp chooses the
// engine: gemm.h for many rows, few_rows.h for few.
#pragma once

#include "kernels/cpu/operand.h"

namespace ggq::cpu::GGQ_ISA {

template <typename T>
struct Term {
    Operand x, w;
    int64_t k = 0;
    T factor = 1;
};

template <typename T>
struct Product {
    T* y = nullptr;  // [m,n] contiguous
    int64_t m = 0, n = 0;
    Term<T> terms[2];
    int n_terms = 1;
    bool add = false;                   // y += the product
    const DropoutMask* mask = nullptr;  // y += mask(the product), over the offsets in y

    int64_t k() const { return terms[0].k + (n_terms > 1 ? terms[1].k : 0); }
};

// What a product is to be added to: y becomes it, where it does not stand there already.
inline void begin_with(const CpuContext& ctx, const View& sum, const View& y) {
    if (sum.data == y.data) return;
    const int64_t size = info(y.dtype).bytes;
    ctx.threads->for_range(y.n_elems(), kTaskElems, [&](int64_t begin, int64_t end) {
        std::memcpy(y.as<std::byte>() + begin * size, sum.as<const std::byte>() + begin * size,
                    static_cast<size_t>((end - begin) * size));
    });
}

// The workspace has product_workspace() bytes or more.
template <typename T>
void multiply(const CpuContext& ctx, const Product<T>& p, std::span<std::byte> workspace);

}  // namespace ggq::cpu::GGQ_ISA
