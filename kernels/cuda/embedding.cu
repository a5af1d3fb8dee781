// embedding: y[t] = table[ids[t]]; a block copies one row, or decodes it 8 weights a thread.
//
// Its gradient adds the rows of a token in the order of their positions. The positions are first sorted by id: each
// one's place is the number of positions with a smaller id, or the same id further left, which 8 lanes count. With the
// places known, a block owns one stretch of a row of dtable and adds its tokens from left to right, or writes zeros: no
// two blocks write one element and no order depends on timing. The count takes T^2 comparisons of integers that lie in
// the cache; the floor is the bytes of dy and dtable.
#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/workspace.h"

namespace ggq::cuda {

namespace {

constexpr int kRowThreads = 128;

// y[T,C]; table[V,C] with row_stride, ids[T]
template <bool wide, typename T, typename W>
__global__ void __launch_bounds__(kRowThreads)
    gather_rows(T* y, const W* table, int64_t row_stride, const int32_t* ids, int64_t C) {
    constexpr int N = kWidthOf<T, W>;
    begin_dependent();
    const W* from = table + ids[blockIdx.x] * row_stride;
    T* to = y + blockIdx.x * C;
    for (int64_t at = static_cast<int64_t>(threadIdx.x) * N; at < C; at += kRowThreads * N) {
        float v[N];
        load_part<wide>(from, at, C, v);
        store_part<wide>(to, at, C, v);
    }
}

// The table is of blocks that hold their scales; C is a multiple of 8.
template <typename T>
__global__ void __launch_bounds__(kRowThreads)
    decode_rows(T* y, const uint8_t* table, DType format, const int32_t* ids, int64_t C) {
    begin_dependent();
    const int64_t from = ids[blockIdx.x] * C;
    T* to = y + blockIdx.x * C;
    for (int64_t at = static_cast<int64_t>(threadIdx.x) * 8; at < C; at += kRowThreads * 8) {
        float w[8];
        decode_packed(format, table, from + at, w);
#pragma unroll
        for (int i = 0; i < 8; ++i) to[at + i] = from_float<T>(w[i]);
    }
}

constexpr int kSortThreads = 256, kLanes = 8;  // lanes that count for one position

// How many of N positions from s on come before position t, which has this id.
template <int N>
__device__ __forceinline__ int count_before(const int32_t* ids, int64_t s, int32_t id, int64_t t) {
    const auto pack = *reinterpret_cast<const Pack<int32_t, N>*>(ids + s);
    int count = 0;
#pragma unroll
    for (int i = 0; i < N; ++i) count += pack.of[i] < id + (s + i < t ? 1 : 0) ? 1 : 0;
    return count;
}

// order[place of t] = t; width is 4 if `ids` lies at a multiple of 16, else 1.
template <int width>
__global__ void __launch_bounds__(kSortThreads) sort_positions(int32_t* order, const int32_t* ids, int64_t n_tokens) {
    const int64_t t = (int64_t{blockIdx.x} * kSortThreads + threadIdx.x) / kLanes;
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    const int32_t id = t < n_tokens ? ids[t] : 0;
    const int64_t n_even = n_tokens / width * width;
    int count = 0;
#pragma unroll 4
    for (int64_t s = lane * width; s < n_even; s += kLanes * width) count += count_before<width>(ids, s, id, t);
    if (lane == 0)
        for (int64_t s = n_even; s < n_tokens; ++s) count += count_before<1>(ids, s, id, t);
    count = warp_reduce<Sum, kLanes>(count);
    if (lane == 0 && t < n_tokens) order[count] = static_cast<int32_t>(t);
}

struct Range {
    int32_t begin, end;
};

// ranges[V] is zero beforehand; only rows that have a token are written.
__global__ void __launch_bounds__(kSortThreads)
    find_ranges(Range* ranges, const int32_t* order, const int32_t* ids, int64_t n_tokens) {
    const int64_t i = int64_t{blockIdx.x} * kSortThreads + threadIdx.x;
    if (i >= n_tokens) return;
    const int32_t id = ids[order[i]];
    if (i == 0 || ids[order[i - 1]] != id) ranges[id].begin = static_cast<int32_t>(i);
    if (i + 1 == n_tokens || ids[order[i + 1]] != id) ranges[id].end = static_cast<int32_t>(i + 1);
}

// dtable[V,C]; dy[T,C], order[T], ranges[V]. A block has kRowThreads * N columns of one row.
template <bool wide, typename T>
__global__ void __launch_bounds__(kRowThreads)
    add_rows(float* dtable, const T* dy, const int32_t* order, const Range* ranges, int64_t C, int64_t n_tiles) {
    constexpr int N = kWidthOf<float, T>;
    const int64_t row = blockIdx.x / n_tiles, tile = blockIdx.x % n_tiles;
    const int64_t at = (tile * kRowThreads + threadIdx.x) * N;
    if (at >= C) return;
    const Range range = ranges[row];
    float sum[N] = {};
#pragma unroll 4
    for (int32_t i = range.begin; i < range.end; ++i) {
        float v[N];
        load_part<wide>(dy + order[i] * C, at, C, v);
#pragma unroll
        for (int j = 0; j < N; ++j) sum[j] += v[j];
    }
    store_part<wide>(dtable + row * C, at, C, sum);
}

}  // namespace

void embedding(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &table = args.in[0];
    const int64_t C = y.shape[1], row_stride = table.strides[0];
    if (is_packed(table.dtype))
        return with_real(y.dtype, [&](auto to) {
            using T = decltype(to);
            launch_dependent(ctx, decode_rows<T>, static_cast<unsigned>(y.shape[0]), kRowThreads, 0, y.as<T>(),
                             table.quant.codes, table.dtype, args.in[1].as<int32_t>(), C);
        });
    GGQ_ASSERT(!info(table.dtype).quantized, "a table in a format without rows of its own");
    with_real(y.dtype, [&](auto to) {
        with_real(table.dtype, [&](auto from) {
            using T = decltype(to);
            using W = decltype(from);
            constexpr int N = kWidthOf<T, W>;
            const bool all_wide = wide_rows<N>(y.as<T>(), C) && wide_rows<N>(table.as<W>(), C) && row_stride % N == 0;
            with_bool(all_wide, [&](auto wide) {
                launch_dependent(ctx, gather_rows<wide.value, T, W>, static_cast<unsigned>(y.shape[0]), kRowThreads, 0,
                                 y.as<T>(), table.as<W>(), row_stride, args.in[1].as<int32_t>(), C);
            });
        });
    });
}

void embedding_backward(const CudaContext& ctx, const KernelArgs& args) {
    const View &dtable = args.out[0], &dy = args.in[0];
    const auto* ids = args.in[1].as<int32_t>();
    const int64_t n_tokens = dy.shape[0], V = dtable.shape[0], C = dtable.shape[1];
    const EmbeddingBuffers at = embedding_buffers(n_tokens, V);
    auto* order = reinterpret_cast<int32_t*>(args.workspace.data() + at.order);
    auto* ranges = reinterpret_cast<Range*>(args.workspace.data() + at.ranges);

    const auto sort_blocks = static_cast<unsigned>(ceil_div(n_tokens * kLanes, kSortThreads));
    launch(ctx, aligned(ids, 16) ? sort_positions<4> : sort_positions<1>, sort_blocks, kSortThreads, 0, order, ids,
           n_tokens);
    GGQ_CUDA_CHECK(cudaMemsetAsync(ranges, 0, static_cast<size_t>(V) * sizeof(Range), ctx.stream));
    launch(ctx, find_ranges, static_cast<unsigned>(ceil_div(n_tokens, kSortThreads)), kSortThreads, 0, ranges, order,
           ids, n_tokens);
    with_real(dy.dtype, [&](auto tag) {
        using T = decltype(tag);
        constexpr int N = kWidthOf<float, T>;
        const int64_t n_tiles = ceil_div(C, kRowThreads * N);
        with_bool(wide_rows<N>(dtable.as<float>(), C) && wide_rows<N>(dy.as<T>(), C), [&](auto wide) {
            launch(ctx, add_rows<wide.value, T>, static_cast<unsigned>(V * n_tiles), kRowThreads, 0, dtable.as<float>(),
                   dy.as<T>(), order, ranges, C, n_tiles);
        });
    });
}

}  // namespace ggq::cuda
