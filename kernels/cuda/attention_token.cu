// Rotation, cache write and attention of one new token in one launch, for Hopper. A cluster of blocks has a key head
// and up to kRows of the rows of q that share it. Each block takes its share of the keys that the token sees, in
// registers:
//   s = scale q k^T,  p = exp(s - m),  o = sum p v,  m being the maximum so far of a group of lanes
// Groups are added in shared memory, in order, then blocks, which read each other's, in order: nothing goes through
// memory. The token's own key and value never come from the cache; the first block writes them there. Floor: the bytes
// of the keys and values seen; at a few hundred of them a launch.
#include "kernels/cuda/attention_token.cuh"

#include "kernels/cuda/attention_forms.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

using namespace token;

// Asks for the keys and values that the block reads first. Their number may still change: nothing depends on it here.
template <typename T, int D, int kAtATime>
__device__ __forceinline__ void ask_ahead(const Call& call, int rank, int n_blocks) {
    constexpr int kLines = D * 2 / 128;
    const int begin = load_now(call.span), end = min(load_now(call.span + 1), call.n_keys);
    const Range keys = share_of({max(begin, 0), end}, rank, n_blocks);
    const auto* k = static_cast<const T*>(call.k_cache) + blockIdx.y * call.k_head;
    const auto* v = static_cast<const T*>(call.v_cache) + blockIdx.y * call.v_head;
    for (int i = static_cast<int>(threadIdx.x); i < kAtATime * kLines; i += kThreads) {
        const int64_t key = keys.begin + i / kLines, in_row = i % kLines * 64;
        if (key >= keys.end) return;
        prefetch(k + key * call.k_token + in_row);
        prefetch(v + key * call.v_token + in_row);
    }
}

template <int D>
__device__ __forceinline__ void fill_turns(const Call& call, float2* turns) {
    const int i = static_cast<int>(threadIdx.x);
    if (i < D / 2) {
        float sine, cosine;
        sincosf(__fmul_rn(static_cast<float>(*call.position), call.frequencies[i]), &sine, &cosine);
        turns[i] = {cosine, sine};
    }
    __syncthreads();
}

// What a lane reads of the caches.
template <typename T, typename S>
struct Reader {
    T *k, *v;
    int64_t k_token, v_token;
    int own, end;

    __device__ __forceinline__ Reader(const Call& call, const Place& at, int end)
        : k(static_cast<T*>(call.k_cache) + blockIdx.y * call.k_head + at.d),
          v(static_cast<T*>(call.v_cache) + blockIdx.y * call.v_head + at.d),
          k_token(call.k_token),
          v_token(call.v_token),
          own(*call.at),
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
    __device__ __forceinline__ void write_own(const uint4& key, const uint4& value) const {
        *reinterpret_cast<uint4*>(k + own * k_token) = key;
        *reinterpret_cast<uint4*>(v + own * v_token) = value;
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

// y of this block's share of the rows' elements, from the sums of all blocks of the cluster.
template <typename T, int D, int kRows>
__device__ __forceinline__ void write_rows(const Call& call, const Shared<D, kRows>& shared, int first_row, int rank,
                                           int n_blocks) {
    const int each = ceil_div(kRows * D, n_blocks), i = rank * each + static_cast<int>(threadIdx.x);
    if (static_cast<int>(threadIdx.x) >= each || i >= kRows * D) return;
    const int row = i / D;
    float2 tops[kMostBlocks];
    float o[kMostBlocks], top = -INFINITY, total = 0, sum = 0;
#pragma unroll
    for (int b = 0; b < kMostBlocks; ++b) {
        if (b >= n_blocks) break;
        tops[b] = load_of_block(&shared.tops[row], static_cast<uint32_t>(b));
        o[b] = load_of_block(&shared.o[row][i % D], static_cast<uint32_t>(b));
    }
#pragma unroll
    for (int b = 0; b < kMostBlocks; ++b)
        if (b < n_blocks) top = fmaxf(top, tops[b].x);
#pragma unroll
    for (int b = 0; b < kMostBlocks; ++b) {
        if (b >= n_blocks) break;
        const float factor = exp2f(tops[b].x - top);
        total = fmaf(factor, tops[b].y, total);
        sum = fmaf(factor, o[b], sum);
    }
    if (first_row + row < call.group)
        static_cast<T*>(call.y)[(static_cast<int64_t>(blockIdx.y) * call.group + first_row) * D + i] =
            from_float<T>(sum / total);
}

// Block (rank in the cluster, key head, rows).
template <typename T, int D, int kRows>
__global__ void __launch_bounds__(kThreads) attend_token(const __grid_constant__ Call call) {
    using S = Sizes<D, kRows>;
    auto& shared = *reinterpret_cast<Shared<D, kRows>*>(dynamic_shared());
    constexpr int kAtATime = kWarps * S::kGroups * S::kEach;  // keys that the block reads
    const int rank = static_cast<int>(blockIdx.x), n_blocks = static_cast<int>(gridDim.x);
    const int first_row = static_cast<int>(blockIdx.z) * kRows;
    const Place at = Place::of<S>();
    let_next_start();
    ask_ahead<T, D, kAtATime>(call, rank, n_blocks);
    wait_for_previous();
    const Range keys = share_of({max(call.span[0], 0), min(call.span[1], call.n_keys)}, rank, n_blocks);
    const Reader<T, S> reader(call, at, keys.end);
    Batch<S::kEach> batch;
    reader.read(at, keys.begin, batch);
    Unturned rows[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
        const int row = static_cast<int>(blockIdx.y) * call.group + min(first_row + r, call.group - 1);
        rows[r] = Unturned::of<T, D>(static_cast<const T*>(call.q) + static_cast<int64_t>(row) * D, at.d);
    }
    const auto own_row = static_cast<int64_t>(blockIdx.y) * D;
    const auto unturned_key = Unturned::of<T, D>(static_cast<const T*>(call.k) + own_row, at.d);
    const uint4 own_value = *reinterpret_cast<const uint4*>(static_cast<const T*>(call.v) + own_row + at.d);
    fill_turns<D>(call, shared.turns);
    float q[kRows][8], own_k[8];
    unturned_key.template turn<T, D>(at.d, shared.turns, own_k);
    uint4 own_key;  // as the cache takes it
    store<8>(reinterpret_cast<T*>(&own_key), own_k);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
        rows[r].template turn<T, D>(at.d, shared.turns, q[r]);
#pragma unroll
        for (int e = 0; e < 8; ++e) q[r][e] *= call.scale * kLog2E;
    }
    Running<kRows> run;
    for (int first = keys.begin; first < keys.end; first += kAtATime) {
#pragma unroll
        for (int u = 0; u < S::kEach; ++u)
            if (at.key<S>(first, u) == reader.own) batch.k[u] = own_key, batch.v[u] = own_value;
        float scores[S::kScores];
        multiply_keys<T, S>(q, batch, scores);
        sum_and_scatter<S::kLanes>(scores, at.lane);
        weigh<S>(shared, at, first, keys.end, scores, run);
        add_values<T, S>(shared, at, batch, run);
        if (first + kAtATime < keys.end) reader.read(at, first + kAtATime, batch);
    }
    add_parts<S>(shared, at, run);
    cluster_barrier();
    write_rows<T, D, kRows>(call, shared, first_row, rank, n_blocks);
    if (rank == 0 && first_row == 0 && static_cast<int>(threadIdx.x) < S::kLanes && reader.own >= 0 &&
        reader.own < call.n_keys)
        reader.write_own(own_key, own_value);
    cluster_barrier();
}

constexpr int kBlocks = 8;  // of a cluster: as many as any card takes

template <typename T, int D, int kRows>
void attend(const CudaContext& ctx, const Call& call, int n_key_heads) {
    launch_clusters_dependent(
        ctx, attend_token<T, D, kRows>,
        dim3(kBlocks, static_cast<unsigned>(n_key_heads), static_cast<unsigned>(ceil_div(call.group, kRows))),
        dim3(kBlocks), kThreads, sizeof(Shared<D, kRows>), call);
}

template <typename T, int D>
void attend(const CudaContext& ctx, const Call& call, int n_key_heads) {
    if (call.group == 1) attend<T, D, 1>(ctx, call, n_key_heads);
    else if (call.group <= 4) attend<T, D, 4>(ctx, call, n_key_heads);
    else attend<T, D, 8>(ctx, call, n_key_heads);
}

template <typename T>
void attend(const CudaContext& ctx, const Call& call, int64_t D, int n_key_heads) {
    D == 64 ? attend<T, 64>(ctx, call, n_key_heads) : attend<T, 128>(ctx, call, n_key_heads);
}

bool has_whole_rows(const View& x) { return rows_are_wide(x) && x.contiguous(); }

}  // namespace

bool cached_attention_token_takes(const CudaContext& ctx, const KernelArgs& args) {
    const View &k_cache = args.out[0], &v_cache = args.out[1], &q = args.in[2];
    return q.shape[0] == 1 && hopper_takes(q.shape[2], q.dtype, *ctx.device) && k_cache.dtype == q.dtype &&
           v_cache.dtype == q.dtype && rows_are_wide(k_cache) && rows_are_wide(v_cache) && has_whole_rows(q) &&
           has_whole_rows(args.in[3]) && has_whole_rows(args.in[4]) && has_whole_rows(args.out[2]);
}

void cached_attention_token(const CudaContext& ctx, const KernelArgs& args) {
    const View &k_cache = args.out[0], &v_cache = args.out[1], &q = args.in[2];
    const AttentionShape shape(q, k_cache);
    const Call call{.q = q.data,
                    .k = args.in[3].data,
                    .v = args.in[4].data,
                    .k_cache = k_cache.data,
                    .v_cache = v_cache.data,
                    .y = args.out[2].data,
                    .position = args.in[5].as<int32_t>(),
                    .at = args.in[7].as<int32_t>(),
                    .span = args.in[8].as<int32_t>(),
                    .frequencies = args.in[6].as<float>(),
                    .k_token = k_cache.strides[0],
                    .k_head = k_cache.strides[1],
                    .v_token = v_cache.strides[0],
                    .v_head = v_cache.strides[1],
                    .scale = args.param<AttentionParams>().scale,
                    .n_keys = static_cast<int>(shape.S),
                    .group = static_cast<int>(shape.group)};
    const int n_key_heads = static_cast<int>(shape.G);
    q.dtype == DType::f16 ? attend<f16>(ctx, call, shape.D, n_key_heads)
                          : attend<bf16>(ctx, call, shape.D, n_key_heads);
}

}  // namespace ggq::cuda
