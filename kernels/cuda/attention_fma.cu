// Attention in float32 arithmetic for every dtype, head size up to 256, stride and span: float32 training, caches of
// another type, head sizes that the tensor cores do not take. The method is that of attention_mma.cu; a block of 256
// threads takes 64, 32 or 16 queries of a head, a thread (16 * ty + tx) the scores of queries ty + 16 i and keys tx +
// 16 j and of those queries' outputs elements 64 c + 4 tx .. + 3.
#include "kernels/cuda/attention_fma.cuh"
#include "kernels/cuda/attention_forms.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256;

struct Call {
    AnyRows q, k, v, y;
    const int* spans;  // [T,2]
    float* lse;        // [H,T]
    float scale;
    int n_queries, n_keys, n_heads, group, D;
};

// Shared memory: queries, keys (padded against bank conflicts), values, p. It is under the 64 KB that every card has.
template <int kHead_, int kOwn_, int kPass_>
struct Tiling {
    static constexpr int kHead = kHead_, kOwn = kOwn_, kPass = kPass_;
    static constexpr int kRows = 16 * kOwn, kKeys = 16 * kPass, kPadded = kHead + 4;
    static constexpr int kKeysAt = kRows * kHead, kValuesAt = kKeysAt + kKeys * kPadded;
    static constexpr int kWeightsAt = kValuesAt + kKeys * kHead;
    static constexpr int64_t kSharedBytes = (kWeightsAt + kRows * kKeys) * 4;
};

// Scores of one row and 16 lanes become p; gives what the row's output is to be multiplied with.
template <int kPass>
__device__ __forceinline__ float exponentiate(float (&s)[kPass], float& top, float& sum) {
    float highest = top;
#pragma unroll
    for (int j = 0; j < kPass; ++j) highest = fmaxf(highest, s[j]);
    highest = warp_reduce<Max, 16>(highest);
    const float factor = top == highest ? 1.f : expf(top - highest);
    const float base = highest == -INFINITY ? 0.f : highest;  // nothing seen so far
    float added = 0;
#pragma unroll
    for (int j = 0; j < kPass; ++j) {
        s[j] = expf(s[j] - base);
        added += s[j];
    }
    sum = sum * factor + warp_reduce<Sum, 16>(added);
    top = highest;
    return factor;
}

// Block (tile of queries, head).
template <typename Z>
__global__ void __launch_bounds__(kThreads, 2) attend(const Call call) {
    float* const q = reinterpret_cast<float*>(dynamic_shared());
    float *const k = q + Z::kKeysAt, *const v = q + Z::kValuesAt, *const p = q + Z::kWeightsAt;
    const int head = blockIdx.y, key_head = head / call.group, first = blockIdx.x * Z::kRows;
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const KeyRange seen = range_of_queries<Z::kRows>(call.spans, first, call.n_queries);
    const int end = min(seen.any_end, call.n_keys);
    fill_tile<Z::kRows, Z::kHead, Z::kHead, kThreads>(q, call.q, head, first, call.n_queries, call.D);

    Span span[Z::kOwn];
    float o[Z::kOwn][Z::kHead / 16] = {}, top[Z::kOwn], sum[Z::kOwn] = {};
#pragma unroll
    for (int i = 0; i < Z::kOwn; ++i) {
        span[i] = span_of(call.spans, min(first + ty + 16 * i, call.n_queries - 1));
        top[i] = -INFINITY;
    }
    for (int key = seen.any_begin; key < end; key += Z::kKeys) {
        __syncthreads();
        fill_tile<Z::kKeys, Z::kHead, Z::kPadded, kThreads>(k, call.k, key_head, key, end, call.D);
        fill_tile<Z::kKeys, Z::kHead, Z::kHead, kThreads>(v, call.v, key_head, key, end, call.D);
        __syncthreads();
        float s[Z::kOwn][Z::kPass] = {};
        add_scores<Z::kOwn, Z::kPass, Z::kHead, Z::kPadded>(s, q, ty, 16, k, tx, call.D);
#pragma unroll
        for (int i = 0; i < Z::kOwn; ++i) {
#pragma unroll
            for (int j = 0; j < Z::kPass; ++j)
                s[i][j] = span[i].has(key + tx + 16 * j) ? s[i][j] * call.scale : -INFINITY;
            const float factor = exponentiate(s[i], top[i], sum[i]);
#pragma unroll
            for (int c = 0; c < Z::kHead / 16; ++c) o[i][c] *= factor;
#pragma unroll
            for (int j = 0; j < Z::kPass; ++j) p[(ty + 16 * i) * Z::kKeys + tx + 16 * j] = s[i][j];
        }
        __syncwarp();  // a row of p is written and read by the same 16 lanes
        add_rows<Z::kOwn, Z::kHead, Z::kKeys, Z::kHead>(o, p, ty, 16, v, tx);
    }
#pragma unroll
    for (int i = 0; i < Z::kOwn; ++i) {
        const int64_t query = first + ty + 16 * i;
        if (query >= call.n_queries) continue;
        store_row<Z::kHead>(call.y, (query * call.n_heads + head) * call.D, o[i], 1 / sum[i], tx, call.D);
        if (tx == 0) call.lse[static_cast<int64_t>(head) * call.n_queries + query] = top[i] + logf(sum[i]);
    }
}

template <typename Z>
void attend_with(const CudaContext& ctx, const Call& call) {
    const dim3 grid(static_cast<unsigned>(ceil_div(call.n_queries, Z::kRows)), static_cast<unsigned>(call.n_heads));
    launch(ctx, attend<Z>, grid, dim3(kThreads), Z::kSharedBytes, call);
}

}  // namespace

void attention_fma(const CudaContext& ctx, const KernelArgs& args) {
    const AttentionShape shape(args.in[0], args.in[1]);
    const Call call{.q = any_rows(args.in[0]),
                    .k = any_rows(args.in[1]),
                    .v = any_rows(args.in[2]),
                    .y = any_rows(args.out[0]),
                    .spans = args.in[3].as<int32_t>(),
                    .lse = args.out[1].as<float>(),
                    .scale = args.param<AttentionParams>().scale,
                    .n_queries = static_cast<int>(shape.T),
                    .n_keys = static_cast<int>(shape.S),
                    .n_heads = static_cast<int>(shape.H),
                    .group = static_cast<int>(shape.group),
                    .D = static_cast<int>(shape.D)};
    if (shape.D <= 64) attend_with<Tiling<64, 4, 2>>(ctx, call);
    else if (shape.D <= 128) attend_with<Tiling<128, 2, 2>>(ctx, call);
    else attend_with<Tiling<256, 1, 1>>(ctx, call);
}

}  // namespace ggq::cuda
