// Products of f32 by float multiply-adds, for any strides: a tile of y of 64 by 64 a block, 4 by 4 a thread, 16 of k at
// a time through shared memory. Floor: 2 m n k FLOP.
#include "kernels/cuda/gemm_args.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product_output.cuh"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256, kTile = 64, kDepthF32 = 16, kMine = 4;
constexpr int kPitch = kTile + 4;

// to[k][row] = the tile of a factor; what is outside is 0. Threads go along whatever runs along memory.
__device__ __forceinline__ void load_tile(const Operand& o, int64_t first, int64_t n, int64_t k, int64_t k_end,
                                          const DropoutMask& mask, bool masked, float (&to)[kDepthF32][kPitch]) {
    const auto* data = static_cast<const float*>(o.data);
    const bool rows_first = o.row_stride == 1;
#pragma unroll
    for (int e = 0; e < kTile * kDepthF32 / kThreads; ++e) {
        const int i = e * kThreads + static_cast<int>(threadIdx.x);
        const int r = rows_first ? i % kTile : i / kDepthF32, c = rows_first ? i / kTile : i % kDepthF32;
        const int64_t row = first + r, at_k = k + c, offset = row * o.row_stride + at_k * o.k_stride;
        const bool inside = row < n && at_k < k_end && (!masked || mask.keeps(offset));
        to[c][r] = inside ? data[offset] : 0.0f;
    }
}

// Grid: (tiles down, tiles across, parts of k).
__global__ void __launch_bounds__(kThreads) gemm_f32_kernel(const __grid_constant__ GemmArgs p) {
    __shared__ __align__(16) float x[kDepthF32][kPitch];
    __shared__ __align__(16) float w[kDepthF32][kPitch];
    const int64_t first_row = blockIdx.x * int64_t{kTile}, first_col = blockIdx.y * int64_t{kTile};
    const int64_t k_begin = blockIdx.z * p.chunk, k_end = k_begin + p.chunk < p.k ? k_begin + p.chunk : p.k;
    const DropoutMask mask = mask_of(p);
    const int down = static_cast<int>(threadIdx.x) / (kTile / kMine) * kMine;
    const int across = static_cast<int>(threadIdx.x) % (kTile / kMine) * kMine;

    float sums[kMine][kMine] = {};
    for (int64_t k = k_begin; k < k_end; k += kDepthF32) {
        __syncthreads();  // all are done with the tiles before
        load_tile(p.x, first_row, p.m, k, k_end, mask, p.mask_x, x);
        load_tile(p.w, first_col, p.n, k, k_end, mask, false, w);
        __syncthreads();
#pragma unroll
        for (int c = 0; c < kDepthF32; ++c) {
            float of_x[kMine], of_w[kMine];
            load<kMine>(&x[c][down], of_x);
            load<kMine>(&w[c][across], of_w);
#pragma unroll
            for (int i = 0; i < kMine; ++i)
#pragma unroll
                for (int j = 0; j < kMine; ++j) sums[i][j] = fmaf(of_x[i], of_w[j], sums[i][j]);
        }
    }
#pragma unroll
    for (int i = 0; i < kMine; ++i)
#pragma unroll
        for (int j = 0; j < kMine; ++j) {
            const int64_t row = first_row + down + i, col = first_col + across + j;
            if (row >= p.m || col >= p.n) continue;
            if (p.partial != nullptr) {
                p.partial[(blockIdx.z * p.m + row) * p.n + col] = sums[i][j];
                continue;
            }
            const bool kept = !p.mask_y || mask.keeps(row * p.y.row_stride + col);
            finish(p.y, row, col, kept ? sums[i][j] : 0.0f);
        }
}

}  // namespace

void gemm_f32(const CudaContext& ctx, const GemmArgs& args, int parts) {
    const dim3 grid(static_cast<unsigned>(ceil_div(args.m, kTile)), static_cast<unsigned>(ceil_div(args.n, kTile)),
                    static_cast<unsigned>(parts));
    launch(ctx, gemm_f32_kernel, grid, kThreads, 0, args);
}

}  // namespace ggq::cuda
