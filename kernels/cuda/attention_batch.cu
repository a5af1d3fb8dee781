// Attention of one new token of each of several sequences, whose caches are ranges of rows of one. The keys that a
// token sees are cut into as many chunks as keep the card busy; a block takes a chunk for all query heads of a key
// head, some keys at a time,
//   s = scale q k^T,  m' = max(m, s),  p = exp(s - m'),  sum = sum exp(m - m') + rowsum(p),  o = o exp(m - m') + p v
// and a second kernel adds the chunks of a token in order. A block first writes the new rows that lie in its chunk.
// Floor: the bytes of the keys and values seen.
#include "kernels/cuda/attention_batch.h"

#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/attention_forms.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kAhead = 8;  // reads of 16 bytes that a lane has under way
constexpr int kGrain = 16;                                            // keys that chunks are multiples of
constexpr int kMostRows = 8;

struct Call {
    const void *q, *k, *v;  // [T,H,D], [T,G,D]: as the linear layers give them
    void *k_cache, *v_cache;
    int64_t k_token, k_head, v_token, v_head;  // strides of the caches
    const int *positions, *at, *spans;
    const float* frequencies;
    float* o;      // [chunks,T,H,D]
    float2* tops;  // [chunks,T,H] {m, sum}
    float scale;
    int n_tokens, n_keys, n_heads, group, D, lanes;  // lanes that share a row of k or v: a power of two, 16 bytes each
};

struct Chunk {
    int begin, end;

    __device__ Chunk(const Call& call, int token) {
        const Span span = span_of(call.spans, token);
        const int last = min(span.end, call.n_keys), n = ceil_div(last - span.begin, static_cast<int>(gridDim.x));
        const int each = ceil_div(n, kGrain) * kGrain;
        begin = min(span.begin + static_cast<int>(blockIdx.x) * each, last);
        end = min(begin + each, last);
    }
    __device__ bool has(int key) const { return begin <= key && key < end; }
};

__device__ __forceinline__ float2 turn_of(const Call& call, int token, int d) {
    float sine, cosine;
    sincosf(__fmul_rn(static_cast<float>(call.positions[token]), call.frequencies[d]), &sine, &cosine);
    return {cosine, sine};
}

// A new token's key, turned, and value into the caches.
template <typename T>
__device__ __forceinline__ void write_token(const Call& call, int token, int key_head) {
    const int half = call.D / 2, row = call.at[token];
    const int64_t from = (int64_t{token} * (call.n_heads / call.group) + key_head) * call.D;
    const T *k = static_cast<const T*>(call.k) + from, *v = static_cast<const T*>(call.v) + from;
    T* to_k = static_cast<T*>(call.k_cache) + row * call.k_token + key_head * call.k_head;
    T* to_v = static_cast<T*>(call.v_cache) + row * call.v_token + key_head * call.v_head;
    for (int d = threadIdx.x; d < half; d += kThreads) {
        const float2 by = turn_of(call, token, d);
        const float a = to_float(k[d]), b = to_float(k[d + half]);
        to_k[d] = from_float<T>(a * by.x - b * by.y);
        to_k[d + half] = from_float<T>(b * by.x + a * by.y);
        to_v[d] = v[d];
        to_v[d + half] = v[d + half];
    }
}

// Those in the chunk, and the block's own token where its place is outside of what it sees. Blocks may write the same.
template <typename T>
__device__ __forceinline__ void write_tokens(const Call& call, const Chunk& chunk, int token, int key_head) {
    for (int first = 0; first < call.n_tokens; first += kWarp) {
        const int i = first + static_cast<int>(threadIdx.x) % kWarp, row = i < call.n_tokens ? call.at[i] : -1;
        const bool own = i == token && blockIdx.x == 0 && row >= 0 && row < call.n_keys;
        for (unsigned wanted = __ballot_sync(0xffffffffu, own || (row >= 0 && chunk.has(row))); wanted != 0;
             wanted &= wanted - 1)
            write_token<T>(call, first + __ffs(static_cast<int>(wanted)) - 1, key_head);
    }
}

// scale q of the key head's query heads, turned, to shared memory; zeros behind them.
template <typename T, int kRows>
__device__ __forceinline__ void turn_queries(const Call& call, int token, int key_head, float* to) {
    const int half = call.D / 2;
    const T* q = static_cast<const T*>(call.q) + (int64_t{token} * call.n_heads + key_head * call.group) * call.D;
    for (int d = threadIdx.x; d < half; d += kThreads) {
        const float2 by = turn_of(call, token, d);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            const bool there = r < call.group;
            const float a = there ? to_float(q[r * call.D + d]) : 0.f,
                        b = there ? to_float(q[r * call.D + d + half]) : 0.f;
            to[r * call.D + d] = call.scale * (a * by.x - b * by.y);
            to[r * call.D + d + half] = call.scale * (b * by.x + a * by.y);
        }
    }
}

// Where a thread stands: it reads elements d .. d + 7 of keys group, group + n_groups, ...
struct Place {
    int d, group, n_groups;
    bool reads;

    __device__ explicit Place(const Call& call)
        : d(static_cast<int>(threadIdx.x) % call.lanes * 8),
          group(static_cast<int>(threadIdx.x) / call.lanes),
          n_groups(kThreads / call.lanes),
          reads(d < call.D) {}
};

template <typename T>
struct Rows {
    Pack<T, 8> of[kAhead];

    __device__ __forceinline__ void load(const T* rows, int64_t token, const Place& at, int first, int end) {
#pragma unroll
        for (int u = 0; u < kAhead; ++u) {
            const int key = first + at.group + u * at.n_groups;
            of[u] = {};
            if (key < end && at.reads) of[u] = *reinterpret_cast<const Pack<T, 8>*>(rows + key * token + at.d);
        }
    }
};

// Shared memory: p[kRows][kMostKeys / lanes], then q[kRows][D], later o of each warp.
template <int kRows>
struct Softmax {
    float top[kRows], sum[kRows], factor[kRows];
};

// A warp a row: scores become p, and the state follows.
template <int kRows>
__device__ __forceinline__ void exponentiate(Softmax<kRows>& state, float* p, int n_keys) {
    const int lane = threadIdx.x % kWarp;
    for (int r = threadIdx.x / kWarp; r < kRows; r += kWarps) {
        float* row = p + r * n_keys;
        float top = -INFINITY, sum = 0;
        for (int i = lane; i < n_keys; i += kWarp) top = fmaxf(top, row[i]);
        const float old = state.top[r];
        top = fmaxf(warp_reduce<Max>(top), old);
        for (int i = lane; i < n_keys; i += kWarp) {
            const float e = expf(row[i] - top);
            row[i] = e;
            sum += e;
        }
        sum = warp_reduce<Sum>(sum);
        if (lane != 0) continue;
        const float factor = expf(old - top);
        state.factor[r] = factor;
        state.sum[r] = state.sum[r] * factor + sum;
        state.top[r] = top;
    }
}

template <typename T, int kRows>
__device__ __forceinline__ void write_scores(const Call& call, const Place& at, const Rows<T>& keys,
                                             const float (&q)[kRows][8], float* p, int n_valid) {
    const int n_keys = at.n_groups * kAhead;
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
        float s[kRows] = {};
#pragma unroll
        for (int e = 0; e < 8; ++e) {
            const float k = to_float(keys.of[u].of[e]);
#pragma unroll
            for (int r = 0; r < kRows; ++r) s[r] = fmaf(q[r][e], k, s[r]);
        }
        for (int distance = call.lanes / 2; distance > 0; distance /= 2)
#pragma unroll
            for (int r = 0; r < kRows; ++r) s[r] += __shfl_xor_sync(0xffffffffu, s[r], distance);
        const int key = at.group + u * at.n_groups;
        if (at.d == 0)
#pragma unroll
            for (int r = 0; r < kRows; ++r) p[r * n_keys + key] = key < n_valid ? s[r] : -INFINITY;
    }
}

// The sums of all threads for each element, added in order, and the state of the rows, to the workspace.
template <int kRows>
__device__ __forceinline__ void write_chunk(const Call& call, const Place& at, float (&o)[kRows][8],
                                            const Softmax<kRows>& state, float* sums, int64_t first_row) {
    for (int distance = call.lanes; distance < kWarp; distance *= 2)
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < 8; ++e) o[r][e] += __shfl_xor_sync(0xffffffffu, o[r][e], distance);
    const int warp = threadIdx.x / kWarp, n = kRows * call.D;
    if (static_cast<int>(threadIdx.x % kWarp) < call.lanes && at.reads)
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < 8; ++e) sums[warp * n + r * call.D + at.d + e] = o[r][e];
    __syncthreads();
    for (int i = threadIdx.x; i < call.group * call.D; i += kThreads) {
        float sum = sums[i];
#pragma unroll
        for (int w = 1; w < kWarps; ++w) sum += sums[w * n + i];
        call.o[first_row * call.D + i] = sum;
    }
    if (static_cast<int>(threadIdx.x) < call.group)
        call.tops[first_row + threadIdx.x] = {state.top[threadIdx.x], state.sum[threadIdx.x]};
}

// Block (chunk, key head, token).
template <typename T, int kRows>
__global__ void __launch_bounds__(kThreads) attend_chunk(const Call call) {
    begin_dependent();
    __shared__ Softmax<kRows> state;
    const int key_head = blockIdx.y, token = blockIdx.z;
    const Chunk chunk(call, token);
    const Place at(call);
    const int n_keys = at.n_groups * kAhead;
    float* const p = reinterpret_cast<float*>(dynamic_shared());
    float* const rows = p + kRows * n_keys;
    const int64_t first_row = (int64_t{blockIdx.x} * call.n_tokens + token) * call.n_heads + key_head * call.group;
    write_tokens<T>(call, chunk, token, key_head);
    if (chunk.begin >= chunk.end) {
        if (static_cast<int>(threadIdx.x) < call.group) call.tops[first_row + threadIdx.x] = {-INFINITY, 0};
        return;
    }
    turn_queries<T, kRows>(call, token, key_head, rows);
    if (threadIdx.x < kRows) state.top[threadIdx.x] = -INFINITY, state.sum[threadIdx.x] = 0;
    __syncthreads();
    float q[kRows][8], o[kRows][8] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int e = 0; e < 8; ++e) q[r][e] = at.reads ? rows[r * call.D + at.d + e] : 0.f;
    const T* keys = static_cast<const T*>(call.k_cache) + key_head * call.k_head;
    const T* values = static_cast<const T*>(call.v_cache) + key_head * call.v_head;
    for (int first = chunk.begin; first < chunk.end; first += n_keys) {
        Rows<T> k, v;
        k.load(keys, call.k_token, at, first, chunk.end);
        v.load(values, call.v_token, at, first, chunk.end);
        write_scores<T, kRows>(call, at, k, q, p, chunk.end - first);
        __syncthreads();
        exponentiate<kRows>(state, p, n_keys);
        __syncthreads();
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < 8; ++e) o[r][e] *= state.factor[r];
#pragma unroll
        for (int u = 0; u < kAhead; ++u)
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
                const float weight = p[r * n_keys + at.group + u * at.n_groups];
#pragma unroll
                for (int e = 0; e < 8; ++e) o[r][e] = fmaf(weight, to_float(v.of[u].of[e]), o[r][e]);
            }
        __syncthreads();
    }
    write_chunk<kRows>(call, at, o, state, rows, first_row);
}

// A warp a token and head.
template <typename T>
__global__ void __launch_bounds__(kThreads) add_chunks(const Call call, int n_chunks, T* y) {
    begin_dependent();
    const int lane = threadIdx.x % kWarp, n_rows = call.n_tokens * call.n_heads;
    const int row = blockIdx.x * kWarps + threadIdx.x / kWarp;
    if (row >= n_rows) return;
    float top = -INFINITY, total = 0;
    for (int i = 0; i < n_chunks; ++i) top = fmaxf(top, call.tops[int64_t{i} * n_rows + row].x);
    float o[kMostHeadSize / kWarp] = {};
    for (int i = 0; i < n_chunks; ++i) {
        const int64_t at = int64_t{i} * n_rows + row;
        const float2 of_chunk = call.tops[at];
        if (of_chunk.y == 0) continue;  // it saw nothing, and has not written o
        const float factor = expf(of_chunk.x - top);
        total += factor * of_chunk.y;
#pragma unroll
        for (int e = 0; e < kMostHeadSize / kWarp; ++e)
            if (lane + e * kWarp < call.D) o[e] = fmaf(factor, call.o[at * call.D + lane + e * kWarp], o[e]);
    }
#pragma unroll
    for (int e = 0; e < kMostHeadSize / kWarp; ++e)
        if (lane + e * kWarp < call.D) y[int64_t{row} * call.D + lane + e * kWarp] = from_float<T>(o[e] / total);
}

int lanes_of_row(int64_t D) {
    int lanes = 1;
    while (lanes * 8 < D) lanes *= 2;
    return lanes;
}

template <typename T, int kRows>
void attend_rows(const CudaContext& ctx, const Call& call, int n_chunks) {
    const int n_keys = kThreads / call.lanes * kAhead;
    const dim3 grid(static_cast<unsigned>(n_chunks), static_cast<unsigned>(call.n_heads / call.group),
                    static_cast<unsigned>(call.n_tokens));
    const int shared = (kRows * n_keys + kWarps * kRows * call.D) * 4;
    launch_dependent(ctx, attend_chunk<T, kRows>, grid, kThreads, static_cast<size_t>(shared), call);
}

template <typename T>
void attend(const CudaContext& ctx, const Call& call, int n_chunks, T* y) {
    if (call.group == 1) attend_rows<T, 1>(ctx, call, n_chunks);
    else if (call.group <= 4) attend_rows<T, 4>(ctx, call, n_chunks);
    else attend_rows<T, kMostRows>(ctx, call, n_chunks);
    const auto n_blocks = static_cast<unsigned>(ceil_div(call.n_tokens * call.n_heads, kWarps));
    launch_dependent(ctx, add_chunks<T>, dim3(n_blocks), kThreads, 0, call, n_chunks, y);
}

bool is_half(DType t) { return t == DType::f16 || t == DType::bf16; }

}  // namespace

bool attention_batch_takes(const KernelArgs& args) {
    const View &k = args.out[0], &v = args.out[1], &q = args.in[2];
    const int64_t T = q.shape[0], D = q.shape[2];
    return T > 1 && args.in[7].shape[0] == T && is_half(q.dtype) && k.dtype == q.dtype && v.dtype == q.dtype &&
           q.shape[1] / k.shape[1] <= kMostRows && D % 8 == 0 && D <= kMostHeadSize && T <= 65535 && rows_are_wide(k) &&
           rows_are_wide(v);
}

void attention_batch(const CudaContext& ctx, const KernelArgs& args) {
    const View &k_cache = args.out[0], &v_cache = args.out[1], &q = args.in[2];
    const AttentionShape shape(q, k_cache);
    const int64_t n_chunks = batch_attention_chunks(shape.T, shape.G, *ctx.device);
    auto* const o = reinterpret_cast<float*>(args.workspace.data());
    const Call call{.q = q.data,
                    .k = args.in[3].data,
                    .v = args.in[4].data,
                    .k_cache = k_cache.data,
                    .v_cache = v_cache.data,
                    .k_token = k_cache.strides[0],
                    .k_head = k_cache.strides[1],
                    .v_token = v_cache.strides[0],
                    .v_head = v_cache.strides[1],
                    .positions = args.in[5].as<int32_t>(),
                    .at = args.in[7].as<int32_t>(),
                    .spans = args.in[8].as<int32_t>(),
                    .frequencies = args.in[6].as<float>(),
                    .o = o,
                    .tops = reinterpret_cast<float2*>(o + n_chunks * shape.T * shape.H * shape.D),
                    .scale = args.param<AttentionParams>().scale,
                    .n_tokens = static_cast<int>(shape.T),
                    .n_keys = static_cast<int>(shape.S),
                    .n_heads = static_cast<int>(shape.H),
                    .group = static_cast<int>(shape.group),
                    .D = static_cast<int>(shape.D),
                    .lanes = lanes_of_row(shape.D)};
    const int n = static_cast<int>(n_chunks);
    if (q.dtype == DType::f16) attend(ctx, call, n, args.out[2].as<f16>());
    else attend(ctx, call, n, args.out[2].as<bf16>());
}

}  // namespace ggq::cuda
