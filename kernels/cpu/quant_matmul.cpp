// Products with a frozen weight w[n,k], decoded while it is packed.
//   quant_matmul            y[m,n] = x[m,k] w^T
//   linear_input_gradient   dx[m,k] = dy[m,n] w (+ sum)
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

void linear_input_gradient(const CpuContext& ctx, const KernelArgs& args) {
    const View &dx = args.out[0], &dy = args.in[0], &w = args.in[1];
    const bool add = args.in.size() > 2;
    if (add) begin_with(ctx, args.in[2], dx);
    with_real(dx.dtype, [&](auto tag) {
        using T = decltype(tag);
        Product<T> p{dx.as<T>(), dy.shape[0], w.shape[1], {{operand(dy), transposed(operand(w)), w.shape[0]}}};
        p.add = add;
        multiply(ctx, p, args.workspace);
    });
}

}  // namespace ggq::cpu::GGQ_ISA
