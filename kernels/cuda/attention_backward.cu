// The gradient of attention, deterministic and without atomics: the scores are computed again from q, k and lse, once
// for dq and once for dk and dv, so that each output has one block that writes it.
//   p = exp(scale q k^T - lse),  dp = dy v^T,  delta = rowsum(dy * y),  ds = p (dp - delta)
//   dq = scale ds k,  dk = scale ds^T q,  dv = p^T dy,   the heads of a group added in order
// This file has what comes first, {lse, delta, span} of each query and head and the range of keys of each tile of
// queries, what comes last where several blocks share the heads of a group, and the choice of the form. Floor of the
// first: dy and y read once.
#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/attention_forms.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

__device__ __forceinline__ void write_fact(QueryFacts* facts, int64_t at, const QueryFacts& fact) { facts[at] = fact; }

__device__ __forceinline__ void write_fact(TileFacts* facts, int64_t at, const QueryFacts& fact) {
    TileFacts& tile = facts[at / 64];
    tile.lse[at % 64] = fact.lse;
    tile.delta[at % 64] = fact.delta;
    tile.span[at % 64] = fact.span;
}

// Block (tile of kGradientTile queries, head), `lanes` threads a row of dy[T,H,D] and y[T,H,D]; rows of facts[H,padded]
// beyond the last query are filled up.
template <typename T, int kWidth, typename Facts>
__global__ void __launch_bounds__(kThreads)
    find_facts(Facts* facts, const T* dy, const T* y, const float* lse, const int* spans, float lse_factor,
               int n_queries, int n_heads, int D, int lanes) {
    constexpr int kTile = static_cast<int>(kGradientTile);
    const int lane = threadIdx.x % lanes, head = blockIdx.y, first = blockIdx.x * kTile;
    for (int i = threadIdx.x / lanes; i < kTile; i += kThreads / lanes) {
        const int query = first + i;
        const int64_t row = (static_cast<int64_t>(query) * n_heads + head) * D;
        float delta = 0;
        for (int d = lane * kWidth; d < D && query < n_queries; d += lanes * kWidth) {
            float a[kWidth], b[kWidth];
            load(dy + row + d, a);
            load(y + row + d, b);
#pragma unroll
            for (int e = 0; e < kWidth; ++e) delta = fmaf(a[e], b[e], delta);
        }
        for (int apart = lanes / 2; apart > 0; apart /= 2) delta += __shfl_xor_sync(0xffffffffu, delta, apart);
        if (lane != 0) continue;
        QueryFacts fact{INFINITY, 0, {0, 0}};
        if (query < n_queries)
            fact = {lse[static_cast<int64_t>(head) * n_queries + query] * lse_factor, delta, span_of(spans, query)};
        write_fact(facts, static_cast<int64_t>(head) * gridDim.x * kTile + query, fact);
    }
}

// A warp a tile of kRows queries; counters become 0.
template <int kRows>
__global__ void __launch_bounds__(kThreads)
    find_ranges(KeyRange* ranges, int* counters, const int* spans, int n_queries, int n_counters) {
    for (int i = blockIdx.x * kThreads + threadIdx.x; i < n_counters; i += gridDim.x * kThreads) counters[i] = 0;
    const int tile = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (tile * kRows >= n_queries) return;
    const KeyRange range = range_of_queries<kRows>(spans, tile * kRows, n_queries);
    if (threadIdx.x % kWarp == 0) ranges[tile] = range;
}

template <typename Facts>
void prepare(const CudaContext& ctx, const KernelArgs& args, const AttentionBackwardPlan& plan, float lse_factor,
             int range_rows) {
    const View &dy = args.in[0], &y = args.in[4];
    const AttentionShape shape(dy, args.in[2]);
    const int n_queries = static_cast<int>(shape.T);
    const int* spans = args.in[6].as<int32_t>();
    std::byte* workspace = args.workspace.data();
    with_real(dy.dtype, [&](auto tag) {
        using T = decltype(tag);
        const auto find = [&](auto kernel, int width) {
            int lanes = 1;
            while (lanes < kWarp && lanes * width < shape.D) lanes *= 2;
            const dim3 grid(static_cast<unsigned>(plan.padded_queries / kGradientTile), static_cast<unsigned>(shape.H));
            launch(ctx, kernel, grid, dim3(kThreads), 0, reinterpret_cast<Facts*>(workspace + plan.facts), dy.as<T>(),
                   y.as<T>(), args.in[5].as<float>(), spans, lse_factor, n_queries, shape.H, shape.D, lanes);
        };
        const bool wide = shape.D % kWide<T> == 0 && (reinterpret_cast<uintptr_t>(dy.data) % 16) == 0 &&
                          (reinterpret_cast<uintptr_t>(y.data) % 16) == 0;
        if (wide) find(find_facts<T, kWide<T>, Facts>, kWide<T>);
        else find(find_facts<T, 1, Facts>, 1);
    });
    const auto find = [&](auto kernel) {
        const int64_t n_tiles = ceil_div(shape.T, range_rows);
        launch(ctx, kernel, dim3(static_cast<unsigned>(ceil_div(n_tiles, kWarps))), dim3(kThreads), 0,
               reinterpret_cast<KeyRange*>(workspace + plan.ranges), reinterpret_cast<int*>(workspace + plan.turns),
               spans, n_queries, plan.n_counters);
    };
    if (range_rows == 64) find(find_ranges<64>);
    else if (range_rows == 32) find(find_ranges<32>);
    else find(find_ranges<16>);
}

// y = factor * the sum of n_parts arrays of n elements, in order; blockIdx.y says whether this is dk or dv.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_partials(T* dk, T* dv, const float* partials, float scale, int n_parts, int64_t n) {
    T* const y = blockIdx.y == 0 ? dk : dv;
    const float factor = blockIdx.y == 0 ? scale : 1.f, *const from = partials + blockIdx.y * n_parts * n;
    for (int64_t i = (blockIdx.x * int64_t{256} + threadIdx.x) * 4; i < n; i += gridDim.x * int64_t{1024}) {
        float sum[4] = {};
        for (int part = 0; part < n_parts; ++part) {
            float x[4];
            load(from + part * n + i, x);
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[e] += x[e];
        }
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[e] *= factor;
        store(y + i, sum);
    }
}

void add_partials(const CudaContext& ctx, const KernelArgs& args, const AttentionBackwardPlan& plan) {
    if (plan.n_splits == 1) return;
    const int64_t n = args.out[1].n_elems();
    with_real(args.out[1].dtype, [&](auto tag) {
        using T = decltype(tag);
        launch(ctx, sum_partials<T>, dim3(blocks_for(ctx, n / 4, kThreads), 2), dim3(kThreads), 0, args.out[1].as<T>(),
               args.out[2].as<T>(), reinterpret_cast<const float*>(args.workspace.data() + plan.partials),
               args.param<AttentionParams>().scale, static_cast<int>(plan.n_splits), n);
    });
}

}  // namespace

void attention_backward(const CudaContext& ctx, const KernelArgs& args) {
    const View &q = args.in[1], &k = args.in[2];
    GGQ_ASSERT(q.shape[2] <= kMostHeadSize, "attention_backward: head sizes are at most 256 on CUDA");
    const AttentionShape shape(q, k);
    const AttentionBackwardPlan plan =
        attention_backward_plan(shape.T, shape.H, shape.D, shape.S, shape.G, q.dtype, *ctx.device);
    if (attention_backward_hopper_takes(args, plan)) {
        prepare<TileFacts>(ctx, args, plan, kLog2E, kGradientTile);
        attention_backward_hopper(ctx, args, plan);
        add_partials(ctx, args, plan);
    } else if (attention_backward_mma_takes(args, plan)) {
        prepare<QueryFacts>(ctx, args, plan, kLog2E, kGradientTile);
        attention_backward_mma(ctx, args, plan);
        add_partials(ctx, args, plan);
    } else {
        prepare<QueryFacts>(ctx, args, plan, 1, attention_backward_fma_range_rows(shape.D));
        attention_backward_fma(ctx, args, plan);
    }
}

}  // namespace ggq::cuda
