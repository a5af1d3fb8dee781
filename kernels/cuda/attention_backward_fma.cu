// The gradient of attention in float32 arithmetic, for every dtype, head size up to 256 and stride. One kernel for both
// sides: a block owns rows of one side and rows of the other pass by,
//   dk, dv: keys stay, (queries, dy) of the heads of the group pass;   dq: (queries, dy) stay, keys and values pass.
// A thread (16 * ty + tx) has the scores of own rows ty + kTy i and passing rows tx + 16 j, and of its own rows'
// results elements 64 c + 4 tx .. + 3.
#include "kernels/cuda/attention_fma.cuh"
#include "kernels/cuda/attention_forms.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

struct Call {
    AnyRows dy, q, k, v, dq, dk, dv;
    const QueryFacts* facts;  // [H,padded]
    const KeyRange* ranges;   // of tiles of as many queries as pass by at a time
    const int* spans;         // [T,2]
    float scale;
    int n_queries, n_keys, n_heads, n_key_heads, group, padded, D;
};

// Shared memory: own rows of two tensors, passing rows of two (padded against bank conflicts), p and ds. It is under
// the 64 KB that every card has.
template <int kHead_, int kTy_, int kOwn_, int kPass_>
struct Tiling {
    static constexpr int kHead = kHead_, kTy = kTy_, kOwn = kOwn_, kPass = kPass_;
    static constexpr int kThreads = 16 * kTy, kRows = kTy * kOwn, kColumns = 16 * kPass, kPadded = kHead + 4;
    static constexpr int kPassAt = 2 * kRows * kHead, kWeightsAt = kPassAt + 2 * kColumns * kPadded;
    static constexpr int64_t kSharedBytes = (kWeightsAt + 2 * kRows * kColumns) * 4;
};

using Small = Tiling<64, 16, 2, 2>;
using Medium = Tiling<128, 16, 2, 1>;
using Huge = Tiling<256, 8, 1, 1>;

template <typename Z>
struct Shared {
    float* own[2];
    float* pass[2];
    float *p, *ds;

    __device__ explicit Shared(float* at)
        : own{at, at + Z::kRows * Z::kHead},
          pass{at + Z::kPassAt, at + Z::kPassAt + Z::kColumns * Z::kPadded},
          p(at + Z::kWeightsAt),
          ds(p + Z::kRows * Z::kColumns) {}
};

// p and ds of the own and passing rows at hand; fact_of(i, j) and key_of(i, j) are those of row i and column j.
template <typename Z, typename Fact, typename Key>
__device__ __forceinline__ void write_weights(const Call& call, const Shared<Z>& shared, const Fact& fact_of,
                                              const Key& key_of) {
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    float s[Z::kOwn][Z::kPass] = {}, dp[Z::kOwn][Z::kPass] = {};
    add_scores<Z::kOwn, Z::kPass, Z::kHead, Z::kPadded>(s, shared.own[0], ty, Z::kTy, shared.pass[0], tx, call.D);
    add_scores<Z::kOwn, Z::kPass, Z::kHead, Z::kPadded>(dp, shared.own[1], ty, Z::kTy, shared.pass[1], tx, call.D);
#pragma unroll
    for (int i = 0; i < Z::kOwn; ++i)
#pragma unroll
        for (int j = 0; j < Z::kPass; ++j) {
            const QueryFacts fact = fact_of(i, j);
            const bool seen = fact.span.has(key_of(i, j));
            const float p = seen ? expf(s[i][j] * call.scale - fact.lse) : 0.f;
            const int at = (ty + Z::kTy * i) * Z::kColumns + tx + 16 * j;
            shared.p[at] = p;
            shared.ds[at] = seen ? p * (dp[i][j] - fact.delta) : 0.f;
        }
    __syncwarp();  // a row of p and ds is written and read by the same 16 lanes
}

// Block (tile of keys, key head).
template <typename Z>
__global__ void __launch_bounds__(Z::kThreads, 2) find_key_gradient(const Call call) {
    const Shared<Z> shared(reinterpret_cast<float*>(dynamic_shared()));
    const int first = blockIdx.x * Z::kRows, key_head = blockIdx.y, tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    fill_tile<Z::kRows, Z::kHead, Z::kHead, Z::kThreads>(shared.own[0], call.k, key_head, first, call.n_keys, call.D);
    fill_tile<Z::kRows, Z::kHead, Z::kHead, Z::kThreads>(shared.own[1], call.v, key_head, first, call.n_keys, call.D);
    float dk[Z::kOwn][Z::kHead / 16] = {}, dv[Z::kOwn][Z::kHead / 16] = {};
    for (int head = key_head * call.group; head < (key_head + 1) * call.group; ++head)
        for (int query = 0; query < call.n_queries; query += Z::kColumns) {
            if (!call.ranges[query / Z::kColumns].meets(first, first + Z::kRows)) continue;
            __syncthreads();
            fill_tile<Z::kColumns, Z::kHead, Z::kPadded, Z::kThreads>(shared.pass[0], call.q, head, query,
                                                                      call.n_queries, call.D);
            fill_tile<Z::kColumns, Z::kHead, Z::kPadded, Z::kThreads>(shared.pass[1], call.dy, head, query,
                                                                      call.n_queries, call.D);
            __syncthreads();
            const QueryFacts* facts = call.facts + static_cast<int64_t>(head) * call.padded + query;
            write_weights<Z>(
                call, shared, [&](int, int j) { return facts[tx + 16 * j]; },
                [&](int i, int) { return first + ty + Z::kTy * i; });
            add_rows<Z::kOwn, Z::kHead, Z::kColumns, Z::kPadded>(dk, shared.ds, ty, Z::kTy, shared.pass[0], tx);
            add_rows<Z::kOwn, Z::kHead, Z::kColumns, Z::kPadded>(dv, shared.p, ty, Z::kTy, shared.pass[1], tx);
        }
#pragma unroll
    for (int i = 0; i < Z::kOwn; ++i) {
        const int64_t key = first + ty + Z::kTy * i;
        if (key >= call.n_keys) continue;
        const int64_t at = (key * call.n_key_heads + key_head) * call.D;
        store_row<Z::kHead>(call.dk, at, dk[i], call.scale, tx, call.D);
        store_row<Z::kHead>(call.dv, at, dv[i], 1, tx, call.D);
    }
}

// Block (tile of queries, head).
template <typename Z>
__global__ void __launch_bounds__(Z::kThreads, 2) find_query_gradient(const Call call) {
    const Shared<Z> shared(reinterpret_cast<float*>(dynamic_shared()));
    const int first = blockIdx.x * Z::kRows, head = blockIdx.y, key_head = head / call.group;
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const KeyRange seen = range_of_queries<Z::kRows>(call.spans, first, call.n_queries);
    const int end = min(seen.any_end, call.n_keys);
    fill_tile<Z::kRows, Z::kHead, Z::kHead, Z::kThreads>(shared.own[0], call.q, head, first, call.n_queries, call.D);
    fill_tile<Z::kRows, Z::kHead, Z::kHead, Z::kThreads>(shared.own[1], call.dy, head, first, call.n_queries, call.D);
    const QueryFacts* facts = call.facts + static_cast<int64_t>(head) * call.padded + first;
    float dq[Z::kOwn][Z::kHead / 16] = {};
    for (int key = seen.any_begin; key < end; key += Z::kColumns) {
        __syncthreads();
        fill_tile<Z::kColumns, Z::kHead, Z::kPadded, Z::kThreads>(shared.pass[0], call.k, key_head, key, end, call.D);
        fill_tile<Z::kColumns, Z::kHead, Z::kPadded, Z::kThreads>(shared.pass[1], call.v, key_head, key, end, call.D);
        __syncthreads();
        write_weights<Z>(
            call, shared, [&](int i, int) { return facts[ty + Z::kTy * i]; },
            [&](int, int j) { return key + tx + 16 * j; });
        add_rows<Z::kOwn, Z::kHead, Z::kColumns, Z::kPadded>(dq, shared.ds, ty, Z::kTy, shared.pass[0], tx);
    }
#pragma unroll
    for (int i = 0; i < Z::kOwn; ++i) {
        const int64_t query = first + ty + Z::kTy * i;
        if (query < call.n_queries)
            store_row<Z::kHead>(call.dq, (query * call.n_heads + head) * call.D, dq[i], call.scale, tx, call.D);
    }
}

template <typename Z>
void find_gradients(const CudaContext& ctx, const Call& call) {
    const auto tiles = [](int n) { return static_cast<unsigned>(ceil_div(n, Z::kRows)); };
    launch(ctx, find_key_gradient<Z>, dim3(tiles(call.n_keys), static_cast<unsigned>(call.n_key_heads)),
           dim3(Z::kThreads), Z::kSharedBytes, call);
    launch(ctx, find_query_gradient<Z>, dim3(tiles(call.n_queries), static_cast<unsigned>(call.n_heads)),
           dim3(Z::kThreads), Z::kSharedBytes, call);
}

}  // namespace

int attention_backward_fma_range_rows(int64_t D) {
    return D <= 64 ? Small::kColumns : D <= 128 ? Medium::kColumns : Huge::kColumns;
}

void attention_backward_fma(const CudaContext& ctx, const KernelArgs& args, const AttentionBackwardPlan& plan) {
    const AttentionShape shape(args.in[1], args.in[2]);
    std::byte* workspace = args.workspace.data();
    const Call call{.dy = any_rows(args.in[0]),
                    .q = any_rows(args.in[1]),
                    .k = any_rows(args.in[2]),
                    .v = any_rows(args.in[3]),
                    .dq = any_rows(args.out[0]),
                    .dk = any_rows(args.out[1]),
                    .dv = any_rows(args.out[2]),
                    .facts = reinterpret_cast<const QueryFacts*>(workspace + plan.facts),
                    .ranges = reinterpret_cast<const KeyRange*>(workspace + plan.ranges),
                    .spans = args.in[6].as<int32_t>(),
                    .scale = args.param<AttentionParams>().scale,
                    .n_queries = static_cast<int>(shape.T),
                    .n_keys = static_cast<int>(shape.S),
                    .n_heads = static_cast<int>(shape.H),
                    .n_key_heads = static_cast<int>(shape.G),
                    .group = static_cast<int>(shape.group),
                    .padded = static_cast<int>(plan.padded_queries),
                    .D = static_cast<int>(shape.D)};
    if (shape.D <= 64) find_gradients<Small>(ctx, call);
    else if (shape.D <= 128) find_gradients<Medium>(ctx, call);
    else find_gradients<Huge>(ctx, call);
}

}  // namespace ggq::cuda
