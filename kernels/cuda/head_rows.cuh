// The losses of rows of logits and, in place, the gradient of the logits. A cluster of blocks holds a row in registers
// between the sum of its exponentials and the gradient, so that logits are read once; a block that has a row to itself
// where it is too long for that reads it twice. Floor: the bytes of the logits and of their gradient.
#pragma once

#include "kernels/cuda/log_sum_exp.cuh"
#include "kernels/cuda/ptx.cuh"

namespace ggq::cuda {

// What losses of rows are made from and go to. Row i of the chunk is labelled row `first` + i, if there are so many.
struct HeadRows {
    float* logits;  // [n, stride], of which V are used; become their gradient, of type T and from the same address on
    int64_t stride, V;
    double* losses;  // [labelled rows]
    const int32_t *labels, *rows, *n_labelled;
    int64_t first;
    bool gradient;
};

inline constexpr int kHeldThreads = 256, kHeldParts = 16, kMostBlocksARow = 8;
inline constexpr int64_t kHeldLogits = int64_t{kHeldThreads} * kHeldParts * kWide<float>;  // by a block

// Of a row from those of its blocks, which are a cluster. By then all of them have read their part of it.
__device__ __forceinline__ ExpSum over_cluster(const ExpSum& mine) {
    __shared__ float4 of_block;
    if (gridDim.x == 1) {
        __syncthreads();
        return mine;
    }
    if (threadIdx.x == 0) of_block = {mine.top, mine.sum, 0, 0};
    cluster_barrier();
    float4 of[kMostBlocksARow];
    ExpSum all;
#pragma unroll
    for (int b = 0; b < kMostBlocksARow; ++b) {
        const bool there = b < static_cast<int>(gridDim.x);
        of[b] = there ? load_of_block(&of_block, static_cast<uint32_t>(b)) : float4{-FLT_MAX, 0, 0, 0};
        all.top = Max::of(all.top, of[b].x);
    }
#pragma unroll
    for (int b = 0; b < kMostBlocksARow; ++b) all.sum += of[b].y * expf(of[b].x - all.top);
    cluster_barrier();  // a block stays until its sums have been read
    return all;
}

// Grid: blocks of a cluster x rows. Where T is half as wide, what is written has been read: by all of the cluster,
// before its barrier.
template <typename T>
__global__ void __launch_bounds__(kHeldThreads, 2) held_row_losses(const HeadRows r, int64_t share) {
    constexpr int N = kWide<float>;
    const int64_t i = r.first + blockIdx.y;
    const int begin = static_cast<int>(blockIdx.x * share);
    const int end = static_cast<int>(begin + share < r.V ? begin + share : r.V);
    float* x = r.logits + blockIdx.y * r.stride;
    T* g = reinterpret_cast<T*>(x);
    const bool labelled = i < *r.n_labelled;
    const auto place = [&](int part) { return begin + (part * kHeldThreads + static_cast<int>(threadIdx.x)) * N; };
    if (!labelled) {  // the same in all blocks of a cluster
        const float zeros[N] = {};
        for (int part = 0; part < kHeldParts && r.gradient; ++part)
            if (place(part) < end) store<N>(g + place(part), zeros);
        return;
    }

    float held[kHeldParts][N], top = -FLT_MAX, sum = 0;
#pragma unroll
    for (int part = 0; part < kHeldParts; ++part) {
#pragma unroll
        for (int e = 0; e < N; ++e) held[part][e] = -FLT_MAX;
        if (place(part) < end) load<N>(x + place(part), held[part]);
    }
    const int32_t label = r.labels[r.rows[i]];
    const float at_label = x[label];
#pragma unroll
    for (int part = 0; part < kHeldParts; ++part)
#pragma unroll
        for (int e = 0; e < N; ++e) top = Max::of(top, held[part][e]);
    const float block_top = block_reduce<Max, kHeldThreads>(top);
#pragma unroll
    for (int part = 0; part < kHeldParts; ++part)
#pragma unroll
        for (int e = 0; e < N; ++e) {
            held[part][e] = expf(held[part][e] - block_top);
            sum += held[part][e];
        }
    const ExpSum row = over_cluster({block_top, block_reduce<Sum, kHeldThreads>(sum)});
    if (begin == 0 && threadIdx.x == 0)
        r.losses[i] =
            static_cast<double>(logf(row.sum)) - (static_cast<double>(at_label) - static_cast<double>(row.top));
    if (!r.gradient) return;
    const float factor = expf(block_top - row.top) / row.sum;
#pragma unroll
    for (int part = 0; part < kHeldParts; ++part) {
        const int at = place(part);
#pragma unroll
        for (int e = 0; e < N; ++e) held[part][e] = held[part][e] * factor - (at + e == label ? 1.0f : 0.0f);
        if (at < end) store<N>(g + at, held[part]);
    }
}

// The same by a block that reads its row twice. Grid: rows. Where T is half as wide, what is written has been read: of
// every part, by all threads, before the barrier.
template <int threads, bool wide, typename T>
__global__ void __launch_bounds__(threads) streamed_row_losses(const HeadRows r) {
    constexpr int N = kWide<float>;
    float* x = r.logits + blockIdx.x * r.stride;
    T* g = reinterpret_cast<T*>(x);
    const int64_t i = r.first + blockIdx.x;
    const bool labelled = i < *r.n_labelled;
    ExpSum row;
    int32_t label = 0;
    if (labelled) {
        label = r.labels[r.rows[i]];
        row = exp_sum_of_row<threads, wide>(x, r.V);
        if (threadIdx.x == 0)
            r.losses[i] =
                static_cast<double>(logf(row.sum)) - (static_cast<double>(x[label]) - static_cast<double>(row.top));
    }
    if (!r.gradient) return;
    const float inverse = 1.0f / row.sum;
    for (int64_t part = 0; part < r.V; part += threads * N) {
        const int64_t at = part + static_cast<int64_t>(threadIdx.x) * N;
        float v[N] = {};
        if (labelled && at < r.V) {
            load_part<wide>(x, at, r.V, v);
#pragma unroll
            for (int e = 0; e < N; ++e) v[e] = expf(v[e] - row.top) * inverse - (at + e == label ? 1.0f : 0.0f);
        }
        __syncthreads();
        if (at < r.V) store_part<wide>(g, at, r.V, v);
    }
}

// Of n rows.
template <typename T>
void row_losses(const CudaContext& ctx, const HeadRows& r, int64_t n) {
    int64_t blocks = 1;
    while (blocks * kHeldLogits < r.V) blocks *= 2;
    const bool wide_rows = r.V % kWide<float> == 0;
    if (wide_rows && blocks <= (ctx.device->hopper ? kMostBlocksARow : 1)) {
        const int64_t share = round_up(ceil_div(r.V, blocks), int64_t{kWide<float>});
        const dim3 cluster(static_cast<unsigned>(blocks));
        launch_clusters(ctx, held_row_losses<T>, dim3(cluster.x, static_cast<unsigned>(n)), cluster, kHeldThreads, 0, r,
                        share);
        return;
    }
    with_bool(wide_rows, [&](auto wide) {
        with_row_threads(r.V, [&](auto threads) {
            launch(ctx, streamed_row_losses<threads.value, wide.value, T>, static_cast<unsigned>(n), threads.value, 0,
                   r);
        });
    });
}

}  // namespace ggq::cuda
