// y[n] = x[k] w[n,k]^T for one row of f16 or bf16 and 4-bit weights, with what stands around it when text is generated:
// x may first be normalized, up to three matrices share it, and outputs may be added to a residual or go in pairs
// through SwiGLU.
#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/product.h"

namespace ggq::cuda {

// A matrix and where its rows' results go.
struct OneRowPart {
    QuantParts w;
    Output y;
    int n_pairs = 0;  // of rows
};

struct OneRow {
    const void* x = nullptr;     // [k]
    const void* norm = nullptr;  // [k]: x is x rstd norm; null: as it is
    const void* add = nullptr;   // [n] of the computing type, added to y of the only part; null: nothing is
    DType norm_dtype = DType::f32, format = DType::nf4, real = DType::bf16;
    float eps = 0;
    int k = 0, n_parts = 1;
    bool gated = false;  // y = silu(x w0^T) * (x w1^T) of the two first parts; their rows make pairs
    OneRowPart parts[3];
};

// Whether one_row_4bit() takes a matrix [n,k] of such codes. x, norm and rows of y begin on 16 bytes.
bool one_row_takes(int64_t n, int64_t k, DType real, DType w, const Device& device);
void one_row_4bit(const CudaContext& ctx, const OneRow& call);

}  // namespace ggq::cuda
