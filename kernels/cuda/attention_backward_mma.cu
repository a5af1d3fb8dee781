// The gradient of attention in the tensor cores, f16 or bf16, head sizes up to 128. Scores stand with the rows of the
// side that a block of 4 warps owns, 16 rows a warp, so that p and ds are the left operands of the next products
// without leaving the registers:
//   find_key_gradient    owns 64 keys:    s^T = k q^T,  dp^T = v dy^T,  dv += p^T dy,  dk += ds^T q;   queries pass by,
//                        head after head of the group
//   find_query_gradient  owns 64 queries: s = q k^T,    dp = dy v^T,    dq += ds k;                    keys pass by
// p and ds are rounded to 16 bits, everything is summed in float. Tiles of queries that see none of the keys are passed
// over (by the ranges in the workspace), masks are looked at only where a tile is seen in part. Few keys give too few
// blocks, so then several blocks share the heads of a group, and their results are added in order afterwards.
// Floor: 10 T S D operations a head, half of that where attention is causal; these two kernels do 14.
#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/attention_forms.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 128, kTile = static_cast<int>(kGradientTile), kCount = kTile / 8;

template <typename T>
struct Call {
    HeadRows<const T> dy, q, k, v;
    HeadRows<T> dq, dk, dv;
    float* partials;          // dk[n_splits,S,G,D], then dv
    const QueryFacts* facts;  // [H,padded]
    const KeyRange* ranges;   // of tiles of queries
    float scale;
    int n_queries, n_keys, n_key_heads, group, n_splits, padded, n_pieces;
};

// [16,kTile] a warp.
using Scores = float[1][kCount][4];

// Rows [16 step, ...) of the left operand, from a tile; the product with the rows of another tile.
template <typename T, int kHead>
__device__ __forceinline__ void multiply_tiles(Scores& s, uint32_t left, uint32_t right) {
#pragma unroll
    for (int step = 0; step < kHead / 16; ++step) {
        uint32_t a[1][4];
        load_matrices(a[0], left ^ (step * 32));
        multiply_by_rows<T, 1, kTile, kHead>(s, a, right, step);
    }
}

__device__ __forceinline__ float weight(float s, float scale, float lse) { return exp2_approx(fmaf(s, scale, -lse)); }

// s and dp of keys (rows) and queries (columns) become p and ds.
__device__ __forceinline__ void weigh_keys(Scores& s, Scores& dp, const QueryFacts* facts, float scale, bool masked,
                                           int first_key) {
#pragma unroll
    for (int n = 0; n < kCount; ++n)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const QueryFacts fact = facts[fragment_col(n, j)];
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const bool seen = !masked || fact.span.has(first_key + fragment_row(r));
                const float p = seen ? weight(s[0][n][2 * r + j], scale, fact.lse) : 0.f;
                s[0][n][2 * r + j] = p;
                dp[0][n][2 * r + j] = seen ? p * (dp[0][n][2 * r + j] - fact.delta) : 0.f;
            }
        }
}

// dp of queries (rows) and keys (columns) becomes ds; s is used up.
__device__ __forceinline__ void weigh_queries(const Scores& s, Scores& dp, const QueryFacts (&facts)[2], float scale,
                                              bool masked, int first_key) {
#pragma unroll
    for (int n = 0; n < kCount; ++n)
#pragma unroll
        for (int r = 0; r < 2; ++r)
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const bool seen = !masked || facts[r].span.has(first_key + fragment_col(n, j));
                const float p = weight(s[0][n][2 * r + j], scale, facts[r].lse);
                dp[0][n][2 * r + j] = seen ? p * (dp[0][n][2 * r + j] - facts[r].delta) : 0.f;
            }
}

template <typename T, int kHead>
__device__ __forceinline__ void write_partial(const Call<T>& call, float* to, const float (&c)[1][kHead / 8][4],
                                              int key, int key_head) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int64_t row = key + fragment_row(r);
        if (row >= call.n_keys) continue;
        float* at = to + (row * call.n_key_heads + key_head) * (call.n_pieces * 8);
#pragma unroll
        for (int n = 0; n < kHead / 8; ++n)
            if (n < call.n_pieces)
                *reinterpret_cast<float2*>(at + fragment_col(n, 0)) = make_float2(c[0][n][2 * r], c[0][n][2 * r + 1]);
    }
}

// Block (key head and split, tile of keys): the first keys, which most queries see where attention is causal, go first.
// Shared memory: k, v; twice q, dy; twice the facts of the queries.
template <typename T, int kHead>
__global__ void __launch_bounds__(kThreads, 2) find_key_gradient(const Call<T> call) {
    constexpr int kElems = kTile * kHead;
    T* const k_tile = reinterpret_cast<T*>(dynamic_shared());
    T *const v_tile = k_tile + kElems, *const stages = k_tile + 2 * kElems;
    QueryFacts* const stage_facts = reinterpret_cast<QueryFacts*>(k_tile + 6 * kElems);
    const int key_head = blockIdx.x / call.n_splits, split = blockIdx.x % call.n_splits;
    const int n_heads = call.group / call.n_splits, first_head = key_head * call.group + split * n_heads;
    const int first = blockIdx.y * kTile, end = min(first + kTile, call.n_keys);
    const int warp_row = threadIdx.x / kWarp * 16, n_tiles = call.padded / kTile;

    const auto load_queries = [&](int stage, int head, int tile) {
        T* to = stages + stage * 2 * kElems;
        load_tile<kTile, kHead, kThreads>(to, call.q, head, tile * kTile, call.n_queries, call.n_pieces);
        load_tile<kTile, kHead, kThreads>(to + kElems, call.dy, head, tile * kTile, call.n_queries, call.n_pieces);
        if (threadIdx.x < kTile)
            copy_async(stage_facts + stage * kTile + threadIdx.x,
                       call.facts + static_cast<int64_t>(head) * call.padded + tile * kTile + threadIdx.x, true);
        commit_copies();
    };
    const QueryTile first_tile = next_tile(call.ranges, 0, n_tiles, first, end);
    QueryTile at = first_tile;
    int head = at.tile < n_tiles ? first_head : first_head + n_heads;
    if (at.tile < n_tiles) {
        load_tile<kTile, kHead, kThreads>(k_tile, call.k, key_head, first, call.n_keys, call.n_pieces);
        load_tile<kTile, kHead, kThreads>(v_tile, call.v, key_head, first, call.n_keys, call.n_pieces);
        load_queries(0, head, at.tile);
    }

    float dk[1][kHead / 8][4] = {}, dv[1][kHead / 8][4] = {};
    const uint32_t k_address = left_address<kHead>(k_tile, warp_row), v_address = left_address<kHead>(v_tile, warp_row);
    for (int stage = 0; head < first_head + n_heads; stage ^= 1) {
        int next_head = head;
        QueryTile next = next_tile(call.ranges, at.tile + 1, n_tiles, first, end);
        if (next.tile == n_tiles) ++next_head, next = first_tile;
        wait_copies<0>();
        __syncthreads();  // this tile has come, and nobody reads the one before any more
        if (next_head < first_head + n_heads) load_queries(stage ^ 1, next_head, next.tile);

        const T *const q_tile = stages + stage * 2 * kElems, *const dy_tile = q_tile + kElems;
        Scores s = {}, dp = {};
        multiply_tiles<T, kHead>(s, k_address, right_address<kHead>(q_tile));
        multiply_tiles<T, kHead>(dp, v_address, right_address<kHead>(dy_tile));
        if (at.masked) weigh_keys(s, dp, stage_facts + stage * kTile, call.scale * kLog2E, true, first + warp_row);
        else weigh_keys(s, dp, stage_facts + stage * kTile, call.scale * kLog2E, false, 0);
        const uint32_t q_address = left_address<kHead>(q_tile, 0), dy_address = left_address<kHead>(dy_tile, 0);
#pragma unroll
        for (int step = 0; step < kTile / 16; ++step) {
            uint32_t p[1][4], ds[1][4];
            left_operand<T>(p[0], s[0], step);
            left_operand<T>(ds[0], dp[0], step);
            multiply_by_columns<T, 1, kHead>(dv, p, dy_address, step);
            multiply_by_columns<T, 1, kHead>(dk, ds, q_address, step);
        }
        head = next_head;
        at = next;
    }

    if (call.n_splits > 1) {
        const int64_t n = static_cast<int64_t>(call.n_keys) * call.n_key_heads * (call.n_pieces * 8);
        write_partial<T, kHead>(call, call.partials + split * n, dk, first + warp_row, key_head);
        write_partial<T, kHead>(call, call.partials + (call.n_splits + split) * n, dv, first + warp_row, key_head);
        return;
    }
    const float dk_factor[2] = {call.scale, call.scale}, dv_factor[2] = {1, 1};
    __syncwarp();  // only this warp has read these rows
    result_to_tile<T, kHead>(k_tile, warp_row, dk[0], dk_factor);
    result_to_tile<T, kHead>(v_tile, warp_row, dv[0], dv_factor);
    store_rows<16, kHead>(call.dk, key_head, first, call.n_keys, call.n_pieces, k_tile, warp_row);
    store_rows<16, kHead>(call.dv, key_head, first, call.n_keys, call.n_pieces, v_tile, warp_row);
}

// Block (head, tile of queries), the last ones first. Shared memory: twice k, v; q and dy come through the second
// stage.
template <typename T, int kHead>
__global__ void __launch_bounds__(kThreads, 2) find_query_gradient(const Call<T> call) {
    constexpr int kElems = kTile * kHead;
    T* const stages = reinterpret_cast<T*>(dynamic_shared());
    T *const q_tile = stages + 2 * kElems, *const dy_tile = q_tile + kElems;
    const int head = blockIdx.x, key_head = head / call.group, tile = gridDim.y - 1 - blockIdx.y;
    const int first = tile * kTile, warp_row = threadIdx.x / kWarp * 16;
    load_tile<kTile, kHead, kThreads>(q_tile, call.q, head, first, call.n_queries, call.n_pieces);
    load_tile<kTile, kHead, kThreads>(dy_tile, call.dy, head, first, call.n_queries, call.n_pieces);
    commit_copies();

    const KeyRange seen = call.ranges[tile];
    const int end = min(seen.any_end, call.n_keys);
    const auto load_keys = [&](int stage, int key) {
        T* to = stages + stage * 2 * kElems;
        load_tile<kTile, kHead, kThreads>(to, call.k, key_head, key, end, call.n_pieces);
        load_tile<kTile, kHead, kThreads>(to + kElems, call.v, key_head, key, end, call.n_pieces);
        commit_copies();
    };
    load_keys(0, seen.any_begin);
    const QueryFacts* own = call.facts + static_cast<int64_t>(head) * call.padded + first + warp_row;
    const QueryFacts facts[2] = {own[fragment_row(0)], own[fragment_row(1)]};

    wait_copies<1>();
    __syncthreads();
    uint32_t q[kHead / 16][1][4], dy[kHead / 16][1][4];
    const uint32_t q_address = left_address<kHead>(q_tile, warp_row),
                   dy_address = left_address<kHead>(dy_tile, warp_row);
#pragma unroll
    for (int step = 0; step < kHead / 16; ++step) {
        load_matrices(q[step][0], q_address ^ (step * 32));
        load_matrices(dy[step][0], dy_address ^ (step * 32));
    }

    float dq[1][kHead / 8][4] = {};
    int stage = 0;
    for (int key = seen.any_begin; key < end; key += kTile, stage ^= 1) {
        wait_copies<0>();
        __syncthreads();  // this tile has come, and nobody reads the one before any more
        if (key + kTile < end) load_keys(stage ^ 1, key + kTile);

        const T* k_tile = stages + stage * 2 * kElems;
        const uint32_t k_address = right_address<kHead>(k_tile), v_address = right_address<kHead>(k_tile + kElems);
        Scores s = {}, dp = {};
#pragma unroll
        for (int step = 0; step < kHead / 16; ++step) multiply_by_rows<T, 1, kTile, kHead>(s, q[step], k_address, step);
#pragma unroll
        for (int step = 0; step < kHead / 16; ++step)
            multiply_by_rows<T, 1, kTile, kHead>(dp, dy[step], v_address, step);
        const bool masked = !seen.all_see(key, key + kTile);
        if (masked) weigh_queries(s, dp, facts, call.scale * kLog2E, true, key);
        else weigh_queries(s, dp, facts, call.scale * kLog2E, false, key);
        const uint32_t k_columns = left_address<kHead>(k_tile, 0);
#pragma unroll
        for (int step = 0; step < kTile / 16; ++step) {
            uint32_t ds[1][4];
            left_operand<T>(ds[0], dp[0], step);
            multiply_by_columns<T, 1, kHead>(dq, ds, k_columns, step);
        }
    }
    __syncthreads();
    const float factor[2] = {call.scale, call.scale};
    result_to_tile<T, kHead>(stages, warp_row, dq[0], factor);
    store_rows<16, kHead>(call.dq, head, first, call.n_queries, call.n_pieces, stages, warp_row);
}

template <typename T, int kHead>
void find_gradients(const CudaContext& ctx, const AttentionShape& shape, const Call<T>& call) {
    const auto tiles = [](int64_t n) { return static_cast<unsigned>(ceil_div(n, kTile)); };
    launch(ctx, find_key_gradient<T, kHead>, dim3(static_cast<unsigned>(shape.G * call.n_splits), tiles(shape.S)),
           dim3(kThreads), static_cast<size_t>(key_gradient_shared_bytes(kHead)), call);
    launch(ctx, find_query_gradient<T, kHead>, dim3(static_cast<unsigned>(shape.H), tiles(shape.T)), dim3(kThreads),
           size_t{4} * kTile * kHead * sizeof(T), call);
}

template <typename T>
void find_gradients_of(const CudaContext& ctx, const KernelArgs& args, const AttentionBackwardPlan& plan) {
    const AttentionShape shape(args.in[1], args.in[2]);
    std::byte* workspace = args.workspace.data();
    const int64_t query_token = shape.H * shape.D, key_token = shape.G * shape.D;
    const Call<T> call{.dy = {.data = args.in[0].as<const T>(), .token = query_token, .head = shape.D},
                       .q = head_rows<const T>(args.in[1]),
                       .k = head_rows<const T>(args.in[2]),
                       .v = head_rows<const T>(args.in[3]),
                       .dq = {.data = args.out[0].as<T>(), .token = query_token, .head = shape.D},
                       .dk = {.data = args.out[1].as<T>(), .token = key_token, .head = shape.D},
                       .dv = {.data = args.out[2].as<T>(), .token = key_token, .head = shape.D},
                       .partials = reinterpret_cast<float*>(workspace + plan.partials),
                       .facts = reinterpret_cast<const QueryFacts*>(workspace + plan.facts),
                       .ranges = reinterpret_cast<const KeyRange*>(workspace + plan.ranges),
                       .scale = args.param<AttentionParams>().scale,
                       .n_queries = static_cast<int>(shape.T),
                       .n_keys = static_cast<int>(shape.S),
                       .n_key_heads = static_cast<int>(shape.G),
                       .group = static_cast<int>(shape.group),
                       .n_splits = static_cast<int>(plan.n_splits),
                       .padded = static_cast<int>(plan.padded_queries),
                       .n_pieces = static_cast<int>(shape.D / 8)};
    if (shape.D <= 64) find_gradients<T, 64>(ctx, shape, call);
    else find_gradients<T, 128>(ctx, shape, call);
}

}  // namespace

bool attention_backward_mma_takes(const KernelArgs& args, const AttentionBackwardPlan& plan) {
    if (!plan.tensor_cores) return false;
    for (int i = 0; i < 4; ++i)
        if (!rows_are_wide(args.in[i])) return false;
    for (const View& out : args.out)
        if (reinterpret_cast<uintptr_t>(out.data) % 16 != 0) return false;
    return true;
}

void attention_backward_mma(const CudaContext& ctx, const KernelArgs& args, const AttentionBackwardPlan& plan) {
    if (args.in[0].dtype == DType::f16) find_gradients_of<f16>(ctx, args, plan);
    else find_gradients_of<bf16>(ctx, args, plan);
}

}  // namespace ggq::cuda
