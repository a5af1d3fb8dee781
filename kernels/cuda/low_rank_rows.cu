// x a^T for one row of x. A block takes a row of an a, and the sum of the squares of x on the way if x is normalized.
// Floor: the bytes of a; at the ranks in use a launch.
#include "kernels/cuda/low_rank_rows.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product_output.cuh"
#include "kernels/cuda/reduce.cuh"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) low_rank_rows_kernel(const __grid_constant__ LowRankRows p) {
    begin_dependent();
    int part = 0, row = static_cast<int>(blockIdx.x);
    for (; row >= p.parts[part].rank; ++part) row -= p.parts[part].rank;
    float sum = 0, squares = 0;
#pragma unroll 4
    for (int k = static_cast<int>(threadIdx.x) * 8; k < p.k; k += kThreads * 8) {
        float x[8], a[8], norm[8];
        eight_at(p.x, p.real, k, x);
        eight_at(p.parts[part].a, p.parts[part].dtype, int64_t{row} * p.k + k, a);
        if (p.norm != nullptr) eight_at(p.norm, p.norm_dtype, k, norm);
#pragma unroll
        for (int e = 0; e < 8; ++e) {
            squares += x[e] * x[e];
            sum += (p.norm != nullptr ? x[e] * norm[e] : x[e]) * a[e];
        }
    }
    sum = block_reduce<Sum, kThreads>(sum);
    if (p.norm != nullptr) sum *= 1 / sqrtf(block_reduce<Sum, kThreads>(squares) / static_cast<float>(p.k) + p.eps);
    if (threadIdx.x == 0) p.xa[blockIdx.x] = sum;
}

}  // namespace

void low_rank_rows(const CudaContext& ctx, const LowRankRows& call) {
    launch_dependent(ctx, low_rank_rows_kernel, dim3(static_cast<unsigned>(call.n_rows())), kThreads, 0, call);
}

}  // namespace ggq::cuda
