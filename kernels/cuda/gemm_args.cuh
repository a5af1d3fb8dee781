// What the kernels of gemm.cu and gemm_f32.cu are launched with.
#pragma once

#include "kernels/cuda/dropout_mask.cuh"
#include "kernels/cuda/product.h"

namespace ggq::cuda {

struct GemmArgs {
    Operand x, w;
    int64_t m, n, k, chunk;  // chunk: the k of a part
    Output y;                // without a low-rank update
    float* partial;          // f32[parts,m,n] instead of y, or null
    bool pairs;              // columns j and j + 1 of y, j even, both exist and make an aligned word
    bool mask_x, mask_y;     // at most one
    const int64_t* rng;
    DropoutScale dropout;
};

// For products without a mask, so that one can always be read.
[[maybe_unused]] static __device__ const int64_t kNoNumbers[2] = {0, 0};

__device__ __forceinline__ DropoutMask mask_of(const GemmArgs& p) {
    return DropoutMask(p.rng != nullptr ? p.rng : kNoNumbers, p.dropout);
}

void gemm_f32(const CudaContext& ctx, const GemmArgs& args, int parts);

}  // namespace ggq::cuda
