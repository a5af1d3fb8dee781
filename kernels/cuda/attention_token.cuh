// Attention of new tokens, as attention_token.cu describes it: what the warps of a block do.
#pragma once

#include "kernels/cuda/attention_block.cuh"

namespace ggq::cuda::token {

inline constexpr int kThreads = 256, kWarps = kThreads / kWarp, kMostBlocks = 16;  // blocks of a cluster

struct Call {
    const void *q, *k, *v;  // of the tokens: [T,H,D], [T,G,D], [T,G,D]; q and k are still to be rotated
    void *k_cache, *v_cache, *y;
    const int *positions, *at, *spans;
    const float* frequencies;
    int64_t k_token, k_head, v_token, v_head;  // strides of the caches, in elements
    float scale;
    int n_tokens, n_keys, n_key_heads, group;
};

// Sizes of a block for kRows rows of q that share a key head. kLanes lanes have a row of k or v, 16 bytes each, so that
// a warp reads kGroups keys at a time; it has kEach times as many under way.
template <int D, int kRows>
struct Sizes {
    static constexpr int kLanes = D / 8, kGroups = kWarp / kLanes, kEach = kRows == 1 ? 8 : 16 / kRows;
    static constexpr int kScores = kRows * kEach;                                // of a group at a time
    static constexpr int kHeld = kScores > kLanes ? kScores / kLanes : 1;        // of them in a lane
    static constexpr int kSame = kLanes > kScores ? kLanes / kScores : 1;        // lanes with the same one
    static constexpr int kRowLanes = kLanes / kRows, kParts = kWarps * kGroups;  // lanes of a row's scores
    static constexpr int kAtATime = kWarps * kGroups * kEach;                    // keys that a block reads
    static_assert(kRows * kParts <= kThreads && kRowLanes >= 1);
};

// Shared memory of a block.
template <int D, int kRows>
struct Shared {
    using S = Sizes<D, kRows>;
    float2 turns[D / 2];                         // {cos, sin}
    alignas(16) float p[S::kParts][S::kScores];  // of the keys at hand
    alignas(16) float shrink[S::kParts][kRows];
    float2 part_tops[S::kParts][kRows];  // {maximum, sum}, then {factor, }
    float2 tops[kRows];                  // of the block
    alignas(16) float o[kRows][D];
    alignas(16) float parts[S::kParts][kRows][D];
};

struct Range {
    int begin, end;

    __device__ __forceinline__ bool has(int key) const { return begin <= key && key < end; }
};

// The block's threads of this part: another kernel may have more.
__device__ __forceinline__ void sync_threads() { asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory"); }

// The keys of block `rank` of n.
__device__ __forceinline__ Range share_of(Range keys, int rank, int n) {
    const int each = ceil_div(max(keys.end - keys.begin, 0), n), begin = min(keys.begin + rank * each, keys.end);
    return {begin, min(begin + each, keys.end)};
}

struct Place {
    int lane, warp, group, d;

    template <typename S>
    __device__ __forceinline__ static Place of() {
        const int lane = static_cast<int>(threadIdx.x) % kWarp;
        return {lane, static_cast<int>(threadIdx.x) / kWarp, lane / S::kLanes, lane % S::kLanes * 8};
    }
    template <typename S>
    __device__ __forceinline__ int key(int first, int u) const {
        return first + (u * kWarps + warp) * S::kGroups + group;
    }
};

template <typename T>
__device__ __forceinline__ void widen(const uint4& pack, float (&to)[8]) {
    const auto values = *reinterpret_cast<const Pack<T, 8>*>(&pack);
#pragma unroll
    for (int e = 0; e < 8; ++e) to[e] = to_float(values.of[e]);
}

// Elements d .. d + 7 of a row of D, and those that they are turned with.
struct Unturned {
    uint4 own, other;

    template <typename T, int D>
    __device__ __forceinline__ static Unturned of(const T* row, int d) {
        return {*reinterpret_cast<const uint4*>(row + d), *reinterpret_cast<const uint4*>(row + (d + D / 2) % D)};
    }
    // By these eight turns, which are those of d % (D / 2) and on.
    template <typename T, int D>
    __device__ __forceinline__ void turn(int d, const float2* by, float (&to)[8]) const {
        float a[8], b[8];
        widen<T>(own, a);
        widen<T>(other, b);
#pragma unroll
        for (int e = 0; e < 8; ++e) to[e] = a[e] * by[e].x + (d < D / 2 ? -b[e] : b[e]) * by[e].y;
    }
};

// Sums each of n values over a group of kLanes lanes: afterwards a lane has those from number lane / kSame * kHeld on.
template <int kLanes, int n>
__device__ __forceinline__ void sum_and_scatter(float (&v)[n], int lane) {
#pragma unroll
    for (int distance = kLanes / 2, left = n; distance > 0; distance /= 2) {
        if (left == 1) {
            v[0] += __shfl_xor_sync(0xffffffffu, v[0], distance);
            continue;
        }
        left /= 2;
        const bool upper = (lane & distance) != 0;
#pragma unroll
        for (int i = 0; i < n / 2; ++i) {
            if (i >= left) break;
            const float kept = upper ? v[i + left] : v[i], given = upper ? v[i] : v[i + left];
            v[i] = kept + __shfl_xor_sync(0xffffffffu, given, distance);
        }
    }
}

// Keys and values of a group's rows that are under way at a time; zeros from `end` on and for the token's own.
template <int kEach>
struct Batch {
    uint4 k[kEach], v[kEach];
};

// Of the rows of q: {maximum, sum} of the scores that a lane holds, and the weighted sum of its elements of v.
template <int kRows>
struct Running {
    float top = -INFINITY, sum = 0;
    float o[kRows][8] = {};
};

// The scores of a group's keys become weights in shared memory; what was summed before is to shrink.
template <typename S, int kRows, int D>
__device__ __forceinline__ void weigh(Shared<D, kRows>& shared, const Place& at, int first, int end,
                                      const float (&scores)[S::kScores], Running<kRows>& run) {
    const int in_group = at.lane % S::kLanes, number = in_group / S::kSame * S::kHeld;
    const int part = at.warp * S::kGroups + at.group;
    float s[S::kHeld], top = run.top;
#pragma unroll
    for (int j = 0; j < S::kHeld; ++j) {
        s[j] = at.key<S>(first, (number + j) % S::kEach) < end ? scores[j] : -INFINITY;
        top = fmaxf(top, s[j]);
    }
    top = warp_reduce<Max, S::kRowLanes>(top);
    const float base = top == -INFINITY ? 0.f : top, shrink = exp2f(run.top - base);
    run.sum *= shrink;
    run.top = top;
#pragma unroll
    for (int j = 0; j < S::kHeld; ++j) {
        const float p = exp2f(s[j] - base);
        run.sum += p;
        shared.p[part][number + j] = p;
    }
    shared.shrink[part][in_group / S::kRowLanes] = shrink;
    __syncwarp();
}

template <typename T, typename S, int kRows, int D>
__device__ __forceinline__ void add_values(const Shared<D, kRows>& shared, const Place& at,
                                           const Batch<S::kEach>& batch, Running<kRows>& run) {
    const int part = at.warp * S::kGroups + at.group;
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int e = 0; e < 8; ++e) run.o[r][e] *= shared.shrink[part][r];
#pragma unroll
    for (int u = 0; u < S::kEach; ++u) {
        float values[8];
        widen<T>(batch.v[u], values);
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
            for (int e = 0; e < 8; ++e) run.o[r][e] = fmaf(shared.p[part][r * S::kEach + u], values[e], run.o[r][e]);
    }
    __syncwarp();
}

// The parts of all groups of lanes become the block's sums, in order. All threads of the block call it.
template <typename S, int kRows, int D>
__device__ __forceinline__ void add_parts(Shared<D, kRows>& shared, const Place& at, const Running<kRows>& run) {
    const int part = at.warp * S::kGroups + at.group, in_group = at.lane % S::kLanes;
    const float sum = warp_reduce<Sum, S::kRowLanes>(run.sum) / S::kSame;
    if (in_group % S::kRowLanes == 0) shared.part_tops[part][in_group / S::kRowLanes] = {run.top, sum};
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int e = 0; e < 8; e += 4)
            *reinterpret_cast<float4*>(&shared.parts[part][r][at.d + e]) = {run.o[r][e], run.o[r][e + 1],
                                                                            run.o[r][e + 2], run.o[r][e + 3]};
    sync_threads();
    if (threadIdx.x < ceil_div(kRows * S::kParts, kWarp) * kWarp) {
        const int row = static_cast<int>(threadIdx.x) / S::kParts;
        float2& mine = shared.part_tops[threadIdx.x % S::kParts][min(row, kRows - 1)];
        const float2 own = mine;
        __syncwarp();
        const float top = warp_reduce<Max, S::kParts>(own.x), base = top == -INFINITY ? 0.f : top;
        const float factor = exp2f(own.x - base), total = warp_reduce<Sum, S::kParts>(factor * own.y);
        if (row < kRows) mine.x = factor;
        if (row < kRows && threadIdx.x % S::kParts == 0) shared.tops[row] = {top, total};
    }
    sync_threads();
    for (int i = static_cast<int>(threadIdx.x); i < kRows * D; i += kThreads) {
        float o = 0;
#pragma unroll
        for (int n = 0; n < S::kParts; ++n) o = fmaf(shared.part_tops[n][i / D].x, shared.parts[n][i / D][i % D], o);
        shared.o[i / D][i % D] = o;
    }
}

template <int D>
__device__ __forceinline__ void fill_turns(const Call& call, int token, float2* turns) {
    const int i = static_cast<int>(threadIdx.x);
    if (i < D / 2) {
        float sine, cosine;
        sincosf(__fmul_rn(static_cast<float>(call.positions[token]), call.frequencies[i]), &sine, &cosine);
        turns[i] = {cosine, sine};
    }
    sync_threads();
}

// What a lane reads of the caches of a key head for a token.
template <typename T, typename S>
struct Reader {
    T *k, *v;
    int64_t k_token, v_token;
    int own, end;

    __device__ __forceinline__ Reader(const Call& call, const Place& at, int token, int key_head, int end)
        : k(static_cast<T*>(call.k_cache) + key_head * call.k_head + at.d),
          v(static_cast<T*>(call.v_cache) + key_head * call.v_head + at.d),
          k_token(call.k_token),
          v_token(call.v_token),
          own(call.at[token]),
          end(end) {}

    __device__ __forceinline__ void read(const Place& at, int first, Batch<S::kEach>& batch) const {
#pragma unroll
        for (int u = 0; u < S::kEach; ++u) {
            const int64_t key = at.key<S>(first, u);
            batch.k[u] = batch.v[u] = uint4{0, 0, 0, 0};
            if (key < end && key != own) {
                batch.k[u] = *reinterpret_cast<const uint4*>(k + key * k_token);
                batch.v[u] = *reinterpret_cast<const uint4*>(v + key * v_token);
            }
        }
    }
    // A new row, by as many threads as have one.
    __device__ __forceinline__ void write(int row, const uint4& key, const uint4& value) const {
        *reinterpret_cast<uint4*>(k + row * k_token) = key;
        *reinterpret_cast<uint4*>(v + row * v_token) = value;
    }
};

template <typename T, typename S, int kRows>
__device__ __forceinline__ void multiply_keys(const float (&q)[kRows][8], const Batch<S::kEach>& batch,
                                              float (&scores)[S::kScores]) {
#pragma unroll
    for (int u = 0; u < S::kEach; ++u) {
        float values[8];
        widen<T>(batch.k[u], values);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            float s = 0;
#pragma unroll
            for (int e = 0; e < 8; ++e) s = fmaf(q[r][e], values[e], s);
            scores[r * S::kEach + u] = s;
        }
    }
}

// As the cache takes it.
template <typename T, int D>
__device__ __forceinline__ uint4 turned_key(const Unturned& key, int d, const float2* by) {
    float turned[8];
    key.template turn<T, D>(d, by, turned);
    uint4 pack;
    store<8>(reinterpret_cast<T*>(&pack), turned);
    return pack;
}

// The block's share of attention to its keys, of which `batch` has the first; its sums are in `shared` afterwards.
template <typename T, int D, int kRows>
__device__ __forceinline__ void attend_share(const Call& call, Shared<D, kRows>& shared, const Place& at,
                                             const Reader<T, Sizes<D, kRows>>& reader, const Range& keys,
                                             Batch<Sizes<D, kRows>::kEach>& batch, const Unturned (&rows)[kRows],
                                             const uint4& own_key, const uint4& own_value) {
    using S = Sizes<D, kRows>;
    float q[kRows][8];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
        rows[r].template turn<T, D>(at.d, shared.turns + at.d % (D / 2), q[r]);
#pragma unroll
        for (int e = 0; e < 8; ++e) q[r][e] *= call.scale * kLog2E;
    }
    Running<kRows> run;
    for (int first = keys.begin; first < keys.end; first += S::kAtATime) {
#pragma unroll
        for (int u = 0; u < S::kEach; ++u)
            if (at.key<S>(first, u) == reader.own) batch.k[u] = own_key, batch.v[u] = own_value;
        float scores[S::kScores];
        multiply_keys<T, S>(q, batch, scores);
        sum_and_scatter<S::kLanes>(scores, at.lane);
        weigh<S>(shared, at, first, keys.end, scores, run);
        add_values<T, S>(shared, at, batch, run);
        if (first + S::kAtATime < keys.end) reader.read(at, first + S::kAtATime, batch);
    }
    add_parts<S>(shared, at, run);
}

}  // namespace ggq::cuda::token
