// Sums of parts, 4 elements a thread; four threads share an element's parts, which are added in order within each and
// then over the four. It starts while the kernel that leaves the parts ends.
#include "kernels/cuda/low_rank_sums.h"

#include "kernels/cuda/launch.cuh"

namespace ggq::cuda {

namespace {

constexpr int kShares = 4, kQuads = 64, kThreads = kShares * kQuads;

__device__ __forceinline__ void add_share(const Parts& p, int64_t i, int share, float (&sum)[4]) {
    const int of_share = ceil_div(p.n_parts, kShares), first = share * of_share;
    const int end = first + of_share < p.n_parts ? first + of_share : p.n_parts;
    const float* from = p.parts + i;
#pragma unroll 8
    for (int s = first; s < end; ++s) {
        float more[4];
        load<4>(from + s * p.n_elems, more);
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[e] += more[e];
    }
}

__device__ __forceinline__ void write(const PartSums& p, float* to, int64_t i, const float (&sum)[4]) {
    if (p.padded == p.rank) return store<4>(to + i, sum);
    const auto col = static_cast<int>(i % p.padded);
    for (int e = 0; e < 4 && col + e < p.rank; ++e) to[i / p.padded * p.rank + col + e] = sum[e];
}

// Grid: (elements, members).
__global__ void __launch_bounds__(kThreads) sum_parts_kernel(const __grid_constant__ PartSums p) {
    __shared__ float4 shares[kShares][kQuads];
    wait_for_previous();
    const Parts& parts = blockIdx.y == 0 ? p.of[0] : blockIdx.y == 1 ? p.of[1] : p.of[2];
    const int quad = static_cast<int>(threadIdx.x) % kQuads, share = static_cast<int>(threadIdx.x) / kQuads;
    const int64_t i = (blockIdx.x * int64_t{kQuads} + quad) * 4;
    float sum[4] = {};
    if (i < parts.n_elems) add_share(parts, i, share, sum);
    shares[share][quad] = {sum[0], sum[1], sum[2], sum[3]};
    __syncthreads();
    if (share > 0 || i >= parts.n_elems) return;
#pragma unroll
    for (int s = 1; s < kShares; ++s) {
        const float4 more = shares[s][quad];
        sum[0] += more.x, sum[1] += more.y, sum[2] += more.z, sum[3] += more.w;
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) sum[e] *= p.alpha;
    write(p, parts.to, i, sum);
}

}  // namespace

void sum_parts(const CudaContext& ctx, const PartSums& p) {
    int64_t most = 0;
    unsigned n = 0;
    for (const Parts& parts : p.of) {
        if (parts.n_parts == 0) break;
        most = parts.n_elems > most ? parts.n_elems : most;
        ++n;
    }
    const dim3 grid(static_cast<unsigned>(ceil_div(most, 4 * kQuads)), n);
    launch_dependent(ctx, sum_parts_kernel, grid, kThreads, 0, p);
}

}  // namespace ggq::cuda
