// Products with a frozen weight w[n,k].
//   quant_matmul            y[m,n] = x[m,k] w^T
//   linear_input_gradient   dx[m,k] = dy[m,n] w (+ sum)
// Floor: 2 m n k FLOP; at few rows the bytes of w (4.13 bits a weight in NF4 with double quantization).
#include "kernels/cuda/product.h"

namespace ggq::cuda {

void quant_matmul(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0], &w = args.in[1];
    const Product product{.m = x.shape[0],
                          .n = w.shape[0],
                          .k = x.shape[1],
                          .x = operand(x),
                          .w = operand(w),
                          .y = {.data = y.data, .dtype = y.dtype, .row_stride = y.shape[1]},
                          .real = y.dtype};
    multiply(ctx, product, Scratch(args.workspace));
}

void linear_input_gradient(const CudaContext& ctx, const KernelArgs& args) {
    const View &dx = args.out[0], &dy = args.in[0], &w = args.in[1];
    Product product{.m = dy.shape[0],
                    .n = w.shape[1],
                    .k = w.shape[0],
                    .x = operand(dy),
                    .w = transposed(operand(w)),
                    .y = {.data = dx.data, .dtype = dx.dtype, .row_stride = dx.shape[1]},
                    .real = dx.dtype};
    if (args.in.size() > 2) {
        copy_unless_same(ctx, args.in[2], dx);
        product.y.beta = 1;
    }
    multiply_tiled(ctx, product, Scratch(args.workspace));
}

}  // namespace ggq::cuda
