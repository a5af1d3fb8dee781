// Attention of a few queries over a piece of a long cache, as attention_decode.cu describes it: what a block does.
#pragma once

#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/attention_forms.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product_output.cuh"

namespace ggq::cuda::decode {

inline constexpr int kThreads = 128, kWarps = kThreads / kWarp, kPiece = static_cast<int>(kDecodePiece);
inline constexpr int kInFlight = 8;  // reads of 16 bytes that a lane has under way

struct Rows {
    const void* data;
    DType dtype;
    int64_t token, head;
};

// New tokens on their way into the cache: k[T,G,D] and v[T,G,D] of q's type, contiguous. Their keys, and the queries,
// are still to be rotated.
struct NewRows {
    const void *k = nullptr, *v = nullptr;  // null: the cache is complete and queries are rotated
    void *k_cache = nullptr, *v_cache = nullptr;
    const int *positions = nullptr, *at = nullptr;
    int64_t n_at = 1;  // 1: the row of the first token, else of each
    const float* frequencies = nullptr;
};

struct Call {
    Rows q;
    const void *k, *v;
    int64_t k_token, k_head, v_token, v_head;
    const int* spans;  // [T,2]
    float* o;          // [pieces,T,H,D]
    float2* tops;      // [pieces,T,H] {m, sum}
    float scale;
    NewRows fresh;
    int n_queries, n_keys, n_heads, group, D, lanes;  // lanes that share a row of k or v: a power of two, 16 bytes each
};

// Where a thread stands: it reads 16 bytes, from element d on, of keys group, group + n_groups, ...
struct Place {
    int d, group, n_groups;
    bool reads;

    __device__ Place(const Call& call, int width)
        : d(static_cast<int>(threadIdx.x) % call.lanes * width),
          group(static_cast<int>(threadIdx.x) / call.lanes),
          n_groups(kThreads / call.lanes),
          reads(d < call.D) {}
};

// f(key, values of the row), kInFlight rows read before the first is used; all lanes of a warp go through it together.
template <typename T, typename F>
__device__ __forceinline__ void for_rows(const void* data, int64_t token, const Place& place, int begin, int end,
                                         const F& f) {
    const T* rows = static_cast<const T*>(data) + place.d;
    for (int first = begin; first < end; first += place.n_groups * kInFlight) {
        Pack<T, kWide<T>> packs[kInFlight] = {};
#pragma unroll
        for (int u = 0; u < kInFlight; ++u) {
            const int key = first + place.group + u * place.n_groups;
            if (key < end && place.reads) packs[u] = *reinterpret_cast<const Pack<T, kWide<T>>*>(rows + key * token);
        }
#pragma unroll
        for (int u = 0; u < kInFlight; ++u) {
            float values[kWide<T>];
#pragma unroll
            for (int e = 0; e < kWide<T>; ++e) values[e] = to_float(packs[u].of[e]);
            f(first + place.group + u * place.n_groups, values);
        }
    }
}

// Shared memory: p[kRows][kPiece], then o[kWarps][kRows][D], then what new tokens turn by, {cos, sin}[T][D / 2].
template <int kRows>
int64_t shared_bytes(int64_t D, int64_t n_new) {
    return (kRows * kPiece + kWarps * kRows * D + n_new * D) * 4;
}

// All threads of the block fill the table together; the caller synchronises.
__device__ __forceinline__ void fill_turns(const Call& call, float2* turns) {
    const int half = call.D / 2;
    for (int i = threadIdx.x; i < call.n_queries * half; i += kThreads) {
        float sine, cosine;
        sincosf(__fmul_rn(static_cast<float>(call.fresh.positions[i / half]), call.fresh.frequencies[i % half]), &sine,
                &cosine);
        turns[i] = {cosine, sine};
    }
}

// Rows of the cache that are new and in [origin, origin + kPiece). Blocks that share a piece and a head write the same.
template <typename T>
__device__ __forceinline__ void write_new_rows(const Call& call, int origin, const float2* turns) {
    const int half = call.D / 2, n_key_heads = call.n_heads / call.group;
    for (int i = threadIdx.x; i < call.n_queries * half; i += kThreads) {
        const int t = i / half, d = i % half, row = call.fresh.n_at == 1 ? call.fresh.at[0] + t : call.fresh.at[t];
        if (row < max(origin, 0) || row >= min(origin + kPiece, call.n_keys)) continue;
        const int64_t from = (static_cast<int64_t>(t) * n_key_heads + blockIdx.y) * call.D + d;
        const float a = value_at(call.fresh.k, call.q.dtype, from),
                    b = value_at(call.fresh.k, call.q.dtype, from + half);
        T* k = static_cast<T*>(call.fresh.k_cache) + row * call.k_token + blockIdx.y * call.k_head + d;
        T* v = static_cast<T*>(call.fresh.v_cache) + row * call.v_token + blockIdx.y * call.v_head + d;
        k[0] = from_float<T>(a * turns[i].x - b * turns[i].y);
        k[half] = from_float<T>(b * turns[i].x + a * turns[i].y);
        v[0] = from_float<T>(value_at(call.fresh.v, call.q.dtype, from));
        v[half] = from_float<T>(value_at(call.fresh.v, call.q.dtype, from + half));
    }
}

// Element d of a row of D, turned.
template <typename T>
__device__ __forceinline__ float turned(const T* row, int d, int half, const float2* turns) {
    const float2 by = turns[d < half ? d : d - half];
    const float own = to_float(row[d]), other = to_float(row[d < half ? d + half : d - half]);
    return d < half ? own * by.x - other * by.y : own * by.x + other * by.y;
}

// scale * q of this lane's elements; all rows are under way at once.
template <typename T, int kRows, int kWidth>
__device__ __forceinline__ void read_queries_as(const Call& call, const Place& place, int first_row,
                                                const float2* turns, float (&q)[kRows][kWidth]) {
    const int n_rows = call.n_queries * call.group;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
        const int row = min(first_row + r, n_rows - 1), head = blockIdx.y * call.group + row % call.group;
        const T* from = static_cast<const T*>(call.q.data) + row / call.group * call.q.token + head * call.q.head;
        const float2* by = turns + row / call.group * (call.D / 2);
#pragma unroll
        for (int e = 0; e < kWidth; ++e) {
            const int d = place.d + e;
            q[r][e] = !place.reads ? 0.f : call.fresh.k ? turned(from, d, call.D / 2, by) : to_float(from[d]);
        }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int e = 0; e < kWidth; ++e) q[r][e] *= call.scale;
}

// Scores of the keys [begin, end) of the piece that starts at `origin`; minus infinity for the others and where a row
// does not see a key.
template <typename T, int kRows>
__device__ __forceinline__ void write_scores(const Call& call, const Place& place, int first_row, int origin, int begin,
                                             int end, const float2* turns, float* p) {
    constexpr int kWidth = kWide<T>;
    const int key_head = blockIdx.y, n_rows = call.n_queries * call.group;
    float q[kRows][kWidth];
    if (call.q.dtype == DType::f32) read_queries_as<float>(call, place, first_row, turns, q);
    else if (call.q.dtype == DType::f16) read_queries_as<f16>(call, place, first_row, turns, q);
    else read_queries_as<bf16>(call, place, first_row, turns, q);
    Span span[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) span[r] = span_of(call.spans, min(first_row + r, n_rows - 1) / call.group);
    for (int i = threadIdx.x; i < kRows * kPiece; i += kThreads) p[i] = -INFINITY;
    __syncthreads();
    const T* keys = static_cast<const T*>(call.k) + key_head * call.k_head;
    for_rows<T>(keys, call.k_token, place, begin, end, [&](int key, const float(&k)[kWidth]) {
        float s[kRows] = {};
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < kWidth; ++e) s[r] = fmaf(q[r][e], k[e], s[r]);
        for (int distance = call.lanes / 2; distance > 0; distance /= 2)
#pragma unroll
            for (int r = 0; r < kRows; ++r) s[r] += __shfl_xor_sync(0xffffffffu, s[r], distance);
        if (place.d != 0 || key >= end) return;
#pragma unroll
        for (int r = 0; r < kRows; ++r)
            if (span[r].has(key)) p[r * kPiece + key - origin] = s[r];
    });
    __syncthreads();
}

// A warp a row: scores become p, {m, sum} go to the workspace.
template <int kRows>
__device__ __forceinline__ void exponentiate(const Call& call, int first_row, float* p) {
    const int lane = threadIdx.x % kWarp, n_rows = call.n_queries * call.group;
    for (int r = threadIdx.x / kWarp; r < kRows; r += kWarps) {
        float* row = p + r * kPiece;
        float top = -INFINITY, sum = 0;
#pragma unroll
        for (int i = 0; i < kPiece / kWarp; ++i) top = fmaxf(top, row[lane + i * kWarp]);
        top = warp_reduce<Max>(top);
        const float base = top == -INFINITY ? 0.f : top;  // the row sees nothing of the piece
#pragma unroll
        for (int i = 0; i < kPiece / kWarp; ++i) {
            const float e = expf(row[lane + i * kWarp] - base);
            row[lane + i * kWarp] = e;
            sum += e;
        }
        sum = warp_reduce<Sum>(sum);
        const int i = first_row + r, query = i / call.group, head = blockIdx.y * call.group + i % call.group;
        if (lane == 0 && i < n_rows)
            call.tops[(static_cast<int64_t>(blockIdx.x) * call.n_queries + query) * call.n_heads + head] = {top, sum};
    }
    __syncthreads();
}

template <typename T, int kRows>
__device__ __forceinline__ void write_values(const Call& call, const Place& place, int first_row, int origin, int begin,
                                             int end, const float* p, float* sums) {
    constexpr int kWidth = kWide<T>;
    const int key_head = blockIdx.y, n_rows = call.n_queries * call.group, warp = threadIdx.x / kWarp;
    float o[kRows][kWidth] = {};
    const T* values = static_cast<const T*>(call.v) + key_head * call.v_head;
    for_rows<T>(values, call.v_token, place, begin, end, [&](int key, const float(&v)[kWidth]) {
        if (key >= end) return;
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < kWidth; ++e) o[r][e] = fmaf(p[r * kPiece + key - origin], v[e], o[r][e]);
    });
    for (int distance = call.lanes; distance < kWarp; distance *= 2)
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < kWidth; ++e) o[r][e] += __shfl_xor_sync(0xffffffffu, o[r][e], distance);
    if (static_cast<int>(threadIdx.x % kWarp) < call.lanes && place.reads)
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < kWidth; ++e) sums[(warp * kRows + r) * call.D + place.d + e] = o[r][e];
    __syncthreads();
    for (int i = threadIdx.x; i < kRows * call.D; i += kThreads) {
        const int row = first_row + i / call.D, query = row / call.group;
        if (row >= n_rows) break;
        const int64_t at = (static_cast<int64_t>(blockIdx.x) * call.n_queries + query) * call.n_heads +
                           key_head * call.group + row % call.group;
        float sum = sums[i];
#pragma unroll
        for (int w = 1; w < kWarps; ++w) sum += sums[w * kRows * call.D + i];
        call.o[at * call.D + i % call.D] = sum;
    }
}

}  // namespace ggq::cuda::decode
