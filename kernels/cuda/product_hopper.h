// The product of large matrices on Hopper:
//   y[m,n] = x_1[m,k_1] w_1[n,k_1]^T + x_2 w_2^T + x_3 w_3^T + scale u[m,r] v[n,r]^T + sum[m,n]
// in 16 bits (f16 or bf16), added in float, rounded once. Against a library's product it saves a pass over y for the
// low-rank update and for each further term. Floor: 2 m n k FLOP in the tensor cores.
#pragma once

#include "kernels/cuda/product.h"

namespace ggq::cuda {

// x[m,k], w[n,k] or, turned, w[k,n]; rows `stride` elements apart.
struct HopperTerm {
    const void* x = nullptr;
    const void* w = nullptr;
    int64_t k = 0, x_stride = 0, w_stride = 0;
};

inline constexpr int kMostTerms = 3;

struct HopperProduct {
    int64_t m = 0, n = 0;
    DType real = DType::bf16;
    bool turned = false;  // each w is [k,n]
    int n_terms = 1;
    HopperTerm terms[kMostTerms] = {};
    HopperTerm low_rank = {};  // u and v[n,r], k: r, at most kMostRank; 0: no update. Not where w is turned.
    float scale = 1;
    const void* sum = nullptr;  // [m,n] contiguous, or null for zeros; may be y
    void* y = nullptr;          // [m,n] contiguous
};

inline constexpr int kMostRank = 64;

// On Hopper, for f16 and bf16: data aligned to 16 bytes, n and all strides multiples of 8. The same bits at every call.
// Needs no workspace.
void hopper_product(const CudaContext& ctx, const HopperProduct& p);

// A product whose y is contiguous and has the type of its factors, + sum (null: zeros), where this form takes it and is
// no slower than the others; false: nothing is done. x or w of another type is converted before, into scratch, and so
// is b: tiled_workspace() bytes and converted_bytes() of b.
bool multiply_in_one(const CudaContext& ctx, const Product& p, const void* sum, Scratch scratch);

}  // namespace ggq::cuda
