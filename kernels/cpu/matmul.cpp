// y[m,n] = x[m,k] w[n,k]^T
// Floor: 2 m n k FLOP; at few rows the bytes of w.
#include "kernels/cpu/product.h"

namespace ggq::cpu::GGQ_ISA {

void matmul(const CpuContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0], &w = args.in[1];
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        Product<T> p{y.as<T>(), x.shape[0], w.shape[0], {{operand(x), operand(w), x.shape[1]}}};
        multiply(ctx, p, args.workspace);
    });
}

}  // namespace ggq::cpu::GGQ_ISA
