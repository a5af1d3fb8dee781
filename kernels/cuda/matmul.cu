// y[m,n] = x[m,k] w[n,k]^T
// Floor: 2 m n k FLOP; at few rows the bytes of w.
#include "kernels/cuda/product.h"

namespace ggq::cuda {

void matmul(const CudaContext& ctx, const KernelArgs& args) {
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

}  // namespace ggq::cuda
