// y[m,n] = x[m,k] w[n,k]^T
// Floor: 2 m n k FLOP; at few rows the bytes of w.
#include "kernels/cuda/product.h"

namespace ggq::cuda {

void matmul(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0], &w = args.in[1];
    const Output out{y.data, y.dtype, y.shape[1]};
    multiply(ctx, {x.shape[0], w.shape[0], x.shape[1], operand(x), operand(w), out, y.dtype}, Scratch(args.workspace));
}

}  // namespace ggq::cuda
