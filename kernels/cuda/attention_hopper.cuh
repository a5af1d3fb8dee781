// What the forms of attention for Hopper share: products over a head's columns and over a tile's rows, results as
// 16-bit operands and tiles.
#pragma once

#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/hopper_products.cuh"

namespace ggq::cuda::hopper {

// c = a b^T over kHead columns: a is [64, kHead], b [8 n, kHead], whose panels stand so many bytes apart.
template <typename T, int kHead, int kPanelA, int kPanelB, int n>
__device__ __forceinline__ void start_scores(float (&c)[n][4], uint64_t a, uint64_t b) {
    begin_products();
#pragma unroll
    for (int step = 0; step < kHead / 16; ++step) {
        const int panel = step / 4, along = step % 4 * 32;
        multiply<T, false, false>(c, moved(a, panel * kPanelA + along), moved(b, panel * kPanelB + along), step > 0);
    }
    commit_products();
}

// c += a b, where a[64, 16 m] is in registers and b has 16 m rows.
template <typename T, int m, int n>
__device__ __forceinline__ void start_sums(float (&c)[n][4], const uint32_t (&a)[m][4], uint64_t b) {
    begin_products();
#pragma unroll
    for (int step = 0; step < m; ++step) multiply<T, true>(c, a[step], moved(b, step * 16 * kPanelRowBytes));
    commit_products();
}

// c[64, 8 n] as the left operand of the next product.
template <typename T, int m, int n>
__device__ __forceinline__ void pack(uint32_t (&a)[m][4], const float (&c)[n][4]) {
    static_assert(n == 2 * m);
#pragma unroll
    for (int step = 0; step < m; ++step) left_operand<T>(a[step], c, step);
}

// Writes columns [16 step, ...) of rows [row, row + 16) of a panel.
__device__ __forceinline__ void write_operand(unsigned char* panel, int row, int step, const uint32_t (&a)[4]) {
    const int lane = threadIdx.x % kWarp, piece = (2 * step + lane / 16) ^ (lane & 7);
    store_matrices(shared_address(panel) + (row + lane % 16) * kPanelRowBytes + piece * 16, a[0], a[1], a[2], a[3]);
}

// Writes rows [row, row + 16) of a tile: factor[0] times rows 0..7 of a warp's result, factor[1] times rows 8..15.
template <typename T, int kPanelBytes, int n>
__device__ __forceinline__ void write_result(unsigned char* tile, int row, const float (&c)[n][4],
                                             const float (&factor)[2]) {
#pragma unroll
    for (int step = 0; step < n / 2; ++step) {
        uint32_t a[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const float* from = &c[2 * step + e / 2][2 * (e % 2)];
            a[e] = pack_pair<T>(from[0] * factor[e % 2], from[1] * factor[e % 2]);
        }
        write_operand(tile + step / 4 * kPanelBytes, row, step % 4, a);
    }
}

}  // namespace ggq::cuda::hopper
