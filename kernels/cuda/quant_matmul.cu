// Products with a frozen quantized weight w[n,k].
//   quant_matmul            y[m,n] = x[m,k] w^T
//   quant_matmul_backward   dx[m,k] = dy[m,n] w
// Floor: 2 m n k FLOP; at few rows the bytes of w (4.13 bits a weight in NF4 with double quantization).
#include "kernels/cuda/product.h"

namespace ggq::cuda {

void quant_matmul(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0], &w = args.in[1];
    const Output out{y.data, y.dtype, y.shape[1]};
    multiply(ctx, {x.shape[0], w.shape[0], x.shape[1], operand(x), operand(w), out, y.dtype}, Scratch(args.workspace));
}

void quant_matmul_backward(const CudaContext& ctx, const KernelArgs& args) {
    const View &dx = args.out[0], &dy = args.in[0], &w = args.in[1];
    const Output out{dx.data, dx.dtype, dx.shape[1]};
    multiply_tiled(ctx, {dy.shape[0], w.shape[1], w.shape[0], operand(dy), transposed(operand(w)), out, dx.dtype},
                   Scratch(args.workspace));
}

}  // namespace ggq::cuda
