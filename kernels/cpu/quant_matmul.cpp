// Products with a frozen quantized weight w[n,k], decoded while it is packed.
//   quant_matmul            y[m,n] = x[m,k] w^T
//   quant_matmul_backward   dx[m,k] = dy[m,n] w
// Floor: 2 m n k FLOP; at few rows the bytes of w (4.13 bits a weight in NF4 with double quantization).
#include "kernels/cpu/product.h"

namespace ggq::cpu::GGQ_ISA {

void quant_matmul(const CpuContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0], &w = args.in[1];
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        Product<T> p{y.as<T>(), x.shape[0], w.shape[0], {{operand(x), operand(w), x.shape[1]}}};
        multiply(ctx, p, args.workspace);
    });
}

void quant_matmul_backward(const CpuContext& ctx, const KernelArgs& args) {
    const View &dx = args.out[0], &dy = args.in[0], &w = args.in[1];
    with_real(dx.dtype, [&](auto tag) {
        using T = decltype(tag);
        Product<T> p{dx.as<T>(), dy.shape[0], w.shape[1], {{operand(dy), transposed(operand(w)), w.shape[0]}}};
        multiply(ctx, p, args.workspace);
    });
}

}  // namespace ggq::cpu::GGQ_ISA
