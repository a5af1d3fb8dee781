// Attention in the tensor cores, without the matrix of scores (Dao, FlashAttention-2, 2023), for many queries in f16 or
// bf16. A block of 4 warps takes a tile of queries of one head, a warp 16 or 32 of its rows; tiles of keys and values
// pass by, the next one being copied while one is used:
//   s = q k^T,  m' = max(m, rowmax(s)),  p = 2^(c s - m'),  sum = sum 2^(m - m') + rowsum(p),  o = o 2^(m - m') + p v
// with c = scale log2(e) and m in units of log 2; y = o / sum. Results of one product stay in registers, where they are
// the left operand of the next. m is raised only when a score exceeds it by kSlack, as p may as well be up to 2^kSlack:
// then most tiles leave o as it is. Tiles of keys that no query of the block (and none of the warp) sees are skipped,
// and only tiles that some row sees in part are masked. Floor: 4 T S D operations a head, half of that where attention
// is causal. Shared memory is read once for 32 rows of queries (head size up to 128), which keeps it off the critical
// path.
#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/attention_forms.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 128;

template <typename T>
struct Call {
    HeadRows<const T> q, k, v;
    const int* spans;  // [T,2]
    HeadRows<T> y;
    float* lse;   // [H,T]
    float scale;  // times log2(e)
    int n_queries, n_keys, group, n_pieces;
};

// Sizes of one instance. Where queries stay in registers they pass through the second stage of keys and values.
template <int kHead_, int kTiles_, int kKeys_>
struct Tiling {
    static constexpr int kHead = kHead_, kTiles = kTiles_, kKeys = kKeys_;
    static constexpr int kWarpRows = 16 * kTiles, kRows = 4 * kWarpRows;
    static constexpr bool kKeepQueries = kHead * kTiles <= 128 || kTiles == 1;
    static constexpr int kStage = 2 * kKeys * kHead;  // elements of a tile of keys and one of values
    static constexpr int64_t kSharedBytes = (2 * kStage + (kKeepQueries ? 0 : kRows * kHead)) * 2;
    static_assert(!kKeepQueries || kRows * kHead <= kStage);
};

using Small = Tiling<64, 2, 64>;    // head sizes up to 64
using Medium = Tiling<128, 1, 64>;  // up to 128, where blocks are few or shared memory is
using Large = Tiling<128, 2, 64>;   // up to 128
using Huge = Tiling<256, 1, 32>;    // up to 256

// The state of a warp's rows: row fragment_row(r) of tile i is [i][r].
template <typename Z>
struct Rows {
    float o[Z::kTiles][Z::kHead / 8][4];
    float top[Z::kTiles][2];
    float sum[Z::kTiles][2];  // of this lane's columns
};

// Scores of keys that a row does not see become minus infinity.
template <typename Z, typename T>
__device__ __forceinline__ void hide(float (&s)[Z::kTiles][Z::kKeys / 8][4], const Call<T>& call, int first_row,
                                     int first_key) {
#pragma unroll
    for (int i = 0; i < Z::kTiles; ++i)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int query = first_row + 16 * i + fragment_row(r);
            const Span span = span_of(call.spans, query < call.n_queries ? query : call.n_queries - 1);
#pragma unroll
            for (int n = 0; n < Z::kKeys / 8; ++n)
#pragma unroll
                for (int j = 0; j < 2; ++j)
                    if (!span.has(first_key + fragment_col(n, j))) s[i][n][2 * r + j] = -INFINITY;
        }
}

// Turns scores into p and brings the state up to date, but for o += p v.
template <typename Z>
__device__ __forceinline__ void exponentiate(Rows<Z>& rows, float (&s)[Z::kTiles][Z::kKeys / 8][4], float scale) {
    float factor[Z::kTiles][2];
    bool raised = false;
#pragma unroll
    for (int i = 0; i < Z::kTiles; ++i)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float highest = -INFINITY;
#pragma unroll
            for (int n = 0; n < Z::kKeys / 8; ++n) highest = fmaxf(highest, fmaxf(s[i][n][2 * r], s[i][n][2 * r + 1]));
            highest = warp_reduce<Max, 4>(highest) * scale;
            const float old = rows.top[i][r];
            const bool raise = highest > old + kSlack;  // also the first time: the old one is minus infinity
            const float top = raise ? highest : old;
            factor[i][r] = raise ? exp2_approx(old - top) : 1.f;
            rows.top[i][r] = top;
            raised |= raise;
            const float base = top == -INFINITY ? 0.f : top;  // nothing seen so far
            float sum = 0;
#pragma unroll
            for (int n = 0; n < Z::kKeys / 8; ++n)
#pragma unroll
                for (int j = 0; j < 2; ++j) {
                    const float p = exp2_approx(fmaf(s[i][n][2 * r + j], scale, -base));
                    s[i][n][2 * r + j] = p;
                    sum += p;
                }
            rows.sum[i][r] = rows.sum[i][r] * factor[i][r] + sum;
        }
    if (!__any_sync(0xffffffffu, raised)) return;
#pragma unroll
    for (int i = 0; i < Z::kTiles; ++i)
#pragma unroll
        for (int n = 0; n < Z::kHead / 8; ++n)
#pragma unroll
            for (int e = 0; e < 4; ++e) rows.o[i][n][e] *= factor[i][e / 2];
}

template <typename Z, typename T>
__device__ __forceinline__ void write_rows(const Call<T>& call, Rows<Z>& rows, T* tile, int head, int first) {
    const int warp_row = threadIdx.x / kWarp * Z::kWarpRows;
    float* lse = call.lse + static_cast<int64_t>(head) * call.n_queries;
#pragma unroll
    for (int i = 0; i < Z::kTiles; ++i) {
        float factor[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const float sum = warp_reduce<Sum, 4>(rows.sum[i][r]);
            const int query = first + warp_row + 16 * i + fragment_row(r);
            factor[r] = 1 / sum;
            if (fragment_col(0, 0) == 0 && query < call.n_queries) lse[query] = (rows.top[i][r] + log2f(sum)) * kLn2;
        }
        result_to_tile<T, Z::kHead>(tile, warp_row + 16 * i, rows.o[i], factor);
    }
    store_rows<Z::kWarpRows, Z::kHead>(call.y, head, first, call.n_queries, call.n_pieces, tile, warp_row);
}

// Block (head, tile): the last tiles, which see most keys where attention is causal, go first.
template <typename Z, typename T>
__global__ void __launch_bounds__(kThreads, 2) attend(const Call<T> call) {
    T* const shared = reinterpret_cast<T*>(dynamic_shared());
    T* const q_tile = Z::kKeepQueries ? shared + Z::kStage : shared + 2 * Z::kStage;
    const int head = blockIdx.x, key_head = head / call.group;
    const int first = (gridDim.y - 1 - blockIdx.y) * Z::kRows, warp_row = threadIdx.x / kWarp * Z::kWarpRows;
    load_tile<Z::kRows, Z::kHead, kThreads>(q_tile, call.q, head, first, call.n_queries, call.n_pieces);
    commit_copies();

    const KeyRange seen = range_of_queries<Z::kRows>(call.spans, first, call.n_queries);
    const KeyRange warp_seen = range_of_queries<Z::kWarpRows>(call.spans, first + warp_row, call.n_queries);
    const int end = min(seen.any_end, call.n_keys);
    const auto load_keys = [&](int stage, int key) {
        T* tile = shared + stage * Z::kStage;
        load_tile<Z::kKeys, Z::kHead, kThreads>(tile, call.k, key_head, key, end, call.n_pieces);
        load_tile<Z::kKeys, Z::kHead, kThreads>(tile + Z::kStage / 2, call.v, key_head, key, end, call.n_pieces);
        commit_copies();
    };
    load_keys(0, seen.any_begin);

    const uint32_t q_address = left_address<Z::kHead>(q_tile, warp_row);
    const auto load_queries = [&](uint32_t(&a)[Z::kTiles][4], int step) {
#pragma unroll
        for (int i = 0; i < Z::kTiles; ++i) load_matrices(a[i], (q_address ^ (step * 32)) + i * 16 * Z::kHead * 2);
    };
    uint32_t kept[Z::kKeepQueries ? Z::kHead / 16 : 1][Z::kTiles][4];
    if constexpr (Z::kKeepQueries) {
        wait_copies<1>();
        __syncthreads();
#pragma unroll
        for (int step = 0; step < Z::kHead / 16; ++step) load_queries(kept[step], step);
    }

    Rows<Z> rows = {};
#pragma unroll
    for (int i = 0; i < Z::kTiles; ++i) rows.top[i][0] = rows.top[i][1] = -INFINITY;

    int stage = 0;
    for (int key = seen.any_begin; key < end; key += Z::kKeys, stage ^= 1) {
        wait_copies<0>();
        __syncthreads();  // this tile has come, and nobody reads the one before any more
        if (key + Z::kKeys < end) load_keys(stage ^ 1, key + Z::kKeys);
        if (!warp_seen.meets(key, key + Z::kKeys)) continue;

        const T* tile = shared + stage * Z::kStage;
        float s[Z::kTiles][Z::kKeys / 8][4] = {};
        const uint32_t k_address = right_address<Z::kHead>(tile);
#pragma unroll
        for (int step = 0; step < Z::kHead / 16; ++step) {
            if constexpr (Z::kKeepQueries) {
                multiply_by_rows<T, Z::kTiles, Z::kKeys, Z::kHead>(s, kept[step], k_address, step);
            } else {
                uint32_t a[Z::kTiles][4];
                load_queries(a, step);
                multiply_by_rows<T, Z::kTiles, Z::kKeys, Z::kHead>(s, a, k_address, step);
            }
        }
        if (!warp_seen.all_see(key, key + Z::kKeys)) hide<Z>(s, call, first + warp_row, key);
        exponentiate<Z>(rows, s, call.scale);
        const uint32_t v_address = left_address<Z::kHead>(tile + Z::kStage / 2, 0);
#pragma unroll
        for (int step = 0; step < Z::kKeys / 16; ++step) {
            uint32_t p[Z::kTiles][4];
#pragma unroll
            for (int i = 0; i < Z::kTiles; ++i) left_operand<T>(p[i], s[i], step);
            multiply_by_columns<T, Z::kTiles, Z::kHead>(rows.o, p, v_address, step);
        }
    }
    __syncthreads();
    write_rows<Z>(call, rows, shared, head, first);
}

template <typename Z, typename T>
void attend_with(const CudaContext& ctx, const AttentionShape& shape, const Call<T>& call) {
    const dim3 grid(static_cast<unsigned>(shape.H), static_cast<unsigned>(ceil_div(shape.T, Z::kRows)));
    launch(ctx, attend<Z, T>, grid, dim3(kThreads), Z::kSharedBytes, call);
}

// Two blocks of a kind are wanted on a multiprocessor, and at least twice as many blocks as there are of these.
bool large_tiles_fill(const Device& device, const AttentionShape& shape) {
    const auto resident = [&](int64_t bytes) {
        return device.shared_bytes / bytes > 1 ? 2 : device.shared_bytes / bytes;
    };
    return resident(Large::kSharedBytes) > 0 && resident(Large::kSharedBytes) >= resident(Medium::kSharedBytes) &&
           ceil_div(shape.T, Large::kRows) * shape.H >= int64_t{2} * device.n_sms;
}

template <typename T>
void attend_heads(const CudaContext& ctx, const KernelArgs& args) {
    const AttentionShape shape(args.in[0], args.in[1]);
    const Call<T> call{.q = head_rows<const T>(args.in[0]),
                       .k = head_rows<const T>(args.in[1]),
                       .v = head_rows<const T>(args.in[2]),
                       .spans = args.in[3].as<int32_t>(),
                       .y = {.data = args.out[0].as<T>(), .token = shape.H * shape.D, .head = shape.D},
                       .lse = args.out[1].as<float>(),
                       .scale = args.param<AttentionParams>().scale * kLog2E,
                       .n_queries = static_cast<int>(shape.T),
                       .n_keys = static_cast<int>(shape.S),
                       .group = static_cast<int>(shape.group),
                       .n_pieces = static_cast<int>(shape.D / 8)};
    if (shape.D <= 64) attend_with<Small>(ctx, shape, call);
    else if (shape.D > 128) attend_with<Huge>(ctx, shape, call);
    else if (large_tiles_fill(*ctx.device, shape)) attend_with<Large>(ctx, shape, call);
    else attend_with<Medium>(ctx, shape, call);
}

}  // namespace

bool attention_mma_takes(const CudaContext& ctx, const KernelArgs& args) {
    const View &q = args.in[0], &k = args.in[1], &v = args.in[2], &y = args.out[0];
    const int64_t D = q.shape[2];
    const int64_t bytes = D <= 64 ? Small::kSharedBytes : D <= 128 ? Medium::kSharedBytes : Huge::kSharedBytes;
    return has_tensor_cores_for(q.dtype, *ctx.device) && k.dtype == q.dtype && v.dtype == q.dtype &&
           bytes <= ctx.device->shared_bytes && args.param<AttentionParams>().scale > 0 && rows_are_wide(q) &&
           rows_are_wide(k) && rows_are_wide(v) && reinterpret_cast<uintptr_t>(y.data) % 16 == 0;
}

void attention_mma(const CudaContext& ctx, const KernelArgs& args) {
    if (args.in[0].dtype == DType::f16) attend_heads<f16>(ctx, args);
    else attend_heads<bf16>(ctx, args);
}

}  // namespace ggq::cuda
