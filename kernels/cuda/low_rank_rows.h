// x a^T of LoRA's a for one row of x, before the product that adds b to it: up to three of them share x.
#pragma once

#include "kernels/cuda/context.h"
#include "kernels/view.h"

namespace ggq::cuda {

struct LowRankRows {
    const void* x = nullptr;     // [k]
    const void* norm = nullptr;  // [k]: x is x rstd norm; null: as it is
    DType real = DType::bf16, norm_dtype = DType::f32;
    float eps = 0;
    int k = 0, n_parts = 0;  // k: a multiple of 8
    struct {
        const void* a = nullptr;  // [rank,k]
        DType dtype = DType::f32;
        int rank = 0;
    } parts[3];
    float* xa = nullptr;  // f32[sum of ranks]

    int n_rows() const { return parts[0].rank + parts[1].rank + parts[2].rank; }
};

// All rows of memory begin on 16 bytes.
void low_rank_rows(const CudaContext& ctx, const LowRankRows& call);

}  // namespace ggq::cuda
