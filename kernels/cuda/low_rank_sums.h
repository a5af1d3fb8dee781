// Adding up the parts that blocks of the low-rank kernels leave, in order.
#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/low_rank.h"

namespace ggq::cuda {

// to = alpha times the sum of `n_parts` parts, each of n_elems floats, a multiple of 4. Floor: the bytes of the parts,
// which lie in L2 as a rule.
struct Parts {
    const float* parts = nullptr;
    float* to = nullptr;
    int64_t n_elems = 0;
    int n_parts = 0;
};

// Where `padded` is set, all parts are matrices of so many columns, of which `rank` are kept.
struct PartSums {
    Parts of[kMostModules] = {};
    int rank = 0, padded = 0;
    float alpha = 1;
};
void sum_parts(const CudaContext& ctx, const PartSums& p);

}  // namespace ggq::cuda
