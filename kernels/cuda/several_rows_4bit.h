// y[m,n] = x[m,k] w[n,k]^T for two and more rows of f16 or bf16 and 4-bit weights on Hopper, with what stands around it
// when several texts are generated: up to three matrices share x, and outputs may be added to a residual or go in pairs
// through SwiGLU.
#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/product.h"

namespace ggq::cuda {

// A matrix and where its rows' results go.
struct SeveralRowsPart {
    QuantParts w;
    Output y;
    int n = 0;
};

struct SeveralRows {
    const void* x = nullptr;  // [m,k], rows x_stride apart
    const void* add =
        nullptr;  // [m,n] of the computing type, contiguous, added to y of the only part; null: nothing is
    int64_t x_stride = 0;
    DType format = DType::nf4, real = DType::bf16;
    int m = 0, k = 0, n_parts = 1;
    bool gated = false;  // y = silu(x w0^T) * (x w1^T) of the two first parts, which have as many rows
    SeveralRowsPart parts[3];
};

// Whether it takes a product as it lies in memory.
bool several_rows_takes(const CudaContext& ctx, const Product& p);
SeveralRows several_rows_call(const Product& p);

// The above holds of the product with each part. several_rows_workspace() bytes for the tiles of all.
void several_rows_4bit(const CudaContext& ctx, const SeveralRows& call, Scratch scratch);

}  // namespace ggq::cuda
