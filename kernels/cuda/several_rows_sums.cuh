// How products of several rows end: the pieces of their sums are added in the order of k, and outputs written.
#pragma once

#include "kernels/cuda/several_rows_4bit.cuh"

namespace ggq::cuda::several_rows {

// The pieces of four rows of w of a tile's sums, for a column.
struct Pieces {
    const float4* from;
    int64_t stride;
    int n;

    template <typename S>
    static __device__ Pieces find(const Work& work, int n_blocks, int tile, int i, int quad) {
        const uint32_t v = tile * work.n_col_blocks + i / S::N, first_step = v * work.n_steps;
        const uint32_t first = work.block_of(first_step, n_blocks),
                       last = work.block_of(first_step + work.n_steps - 1, n_blocks);
        constexpr int kPlace = S::N * S::kRows / 4;
        return {reinterpret_cast<const float4*>(work.partial) + int64_t{first + v} * kPlace +
                    (i % S::N * (S::kRows / 4) + quad),
                kPlace, static_cast<int>(last - first + 1)};
    }
    __device__ __forceinline__ void sum(float (&total)[4]) const {
#pragma unroll
        for (float& t : total) t = 0;
        for (int first = 0; first < n; first += 4) {
            float4 of[4];
#pragma unroll
            for (int j = 0; j < 4; ++j) of[j] = first + j < n ? from[(first + j) * stride] : float4{0, 0, 0, 0};
#pragma unroll
            for (int j = 0; j < 4; ++j)
                total[0] += of[j].x, total[1] += of[j].y, total[2] += of[j].z, total[3] += of[j].w;
        }
    }
};

// Grid: (tiles of w, or of the first part in pairs; fours of rows of y). A thread has four rows of w and one of y.
template <typename T, typename S>
__global__ void __launch_bounds__(S::kRows) add_pieces(const __grid_constant__ Work work, int n_blocks) {
    let_next_start();
    const SeveralRows& call = work.call;
    int tile = static_cast<int>(blockIdx.x);
    const int quad = static_cast<int>(threadIdx.x) % (S::kRows / 4);
    const int i = static_cast<int>(blockIdx.y * 4 + threadIdx.x / (S::kRows / 4));
    const Pieces own = Pieces::find<S>(work, n_blocks, tile, i, quad);
    const Pieces other = call.gated ? Pieces::find<S>(work, n_blocks, tile + work.n_tiles[0], i, quad) : own;
    const SeveralRowsPart& part = call.parts[work.part_of(tile)];
    const Output& y = part.y;
    const int j = tile * S::kRows + 4 * quad;
    wait_for_previous();
    if (j >= part.n || i >= call.m) return;
    float sum[4];
    own.sum(sum);
    if (call.gated) {
        float up[4];
        other.sum(up);
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[e] = sum[e] / (1 + expf(-sum[e])) * up[e];
    }
    if (call.add != nullptr) {
        float more[4];
        load<4>(static_cast<const T*>(call.add) + (int64_t{i} * part.n + j), more);
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[e] += more[e];
    }
    if (work.plain_output) store<4>(static_cast<T*>(y.data) + (i * y.row_stride + j), sum);
    else
#pragma unroll
        for (int e = 0; e < 4; ++e) finish(y, i, j + e, sum[e]);
}

}  // namespace ggq::cuda::several_rows
