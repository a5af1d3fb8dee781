// Rotation, cache write and attention of new tokens, each with a place of its own in the caches, in one launch, for
// Hopper. A cluster of blocks has a token's key head and up to kRows of the rows of q that share it. Each block takes
// its share of the keys that the token sees, in registers:
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

// What a block attends for: all that share a token and a key head, or kRows of them.
template <int kRows>
struct Task {
    int token, key_head, first_row;

    __device__ __forceinline__ explicit Task(const Call& call) : key_head(static_cast<int>(blockIdx.y)) {
        const int n = ceil_div(call.group, kRows), z = static_cast<int>(blockIdx.z);
        token = z / n;
        first_row = z % n * kRows;
    }
    // Of q or y.
    __device__ __forceinline__ int64_t row(const Call& call, int r) const {
        return (int64_t{token} * call.n_key_heads + key_head) * call.group + first_row + r;
    }
    // Of k and v.
    __device__ __forceinline__ int64_t own_row(const Call& call) const {
        return int64_t{token} * call.n_key_heads + key_head;
    }
    __device__ __forceinline__ Range keys(const Call& call, int begin, int end) const {
        return share_of({max(begin, 0), min(end, call.n_keys)}, static_cast<int>(blockIdx.x),
                        static_cast<int>(gridDim.x));
    }
};

// Asks for the keys and values that the block reads first. Their number may still change: nothing depends on it here.
template <typename T, int D, int kRows>
__device__ __forceinline__ void ask_ahead(const Call& call, const Task<kRows>& task) {
    constexpr int kLines = D * 2 / 128, kAtATime = Sizes<D, kRows>::kAtATime;
    const int* span = call.spans + 2 * task.token;
    const Range keys = task.keys(call, load_now(span), load_now(span + 1));
    const auto* k = static_cast<const T*>(call.k_cache) + task.key_head * call.k_head;
    const auto* v = static_cast<const T*>(call.v_cache) + task.key_head * call.v_head;
    for (int i = static_cast<int>(threadIdx.x); i < kAtATime * kLines; i += kThreads) {
        const int64_t key = keys.begin + i / kLines, in_row = i % kLines * 64;
        if (key >= keys.end) return;
        prefetch(k + key * call.k_token + in_row);
        prefetch(v + key * call.v_token + in_row);
    }
}

// The new rows of other tokens that lie among the block's keys, which it then writes itself before it reads them; other
// blocks may write the same. Whether there were any.
template <typename T, int D, typename S>
__device__ __forceinline__ bool write_others(const Call& call, const Reader<T, S>& reader, const Range& keys, int token,
                                             int key_head) {
    bool any = false;
    for (int first = 0; first < call.n_tokens; first += kWarp) {
        const int i = first + static_cast<int>(threadIdx.x) % kWarp;
        const bool wanted = i < call.n_tokens && i != token && keys.has(call.at[i]);
        for (unsigned left = __ballot_sync(0xffffffffu, wanted); left != 0; left &= left - 1) {
            const int other = first + __ffs(static_cast<int>(left)) - 1, d = static_cast<int>(threadIdx.x);
            any = true;
            if (d >= S::kLanes) continue;
            float2 turns[8];
            for (int e = 0; e < 8; ++e) {
                const float angle =
                    __fmul_rn(static_cast<float>(call.positions[other]), call.frequencies[(d * 8 + e) % (D / 2)]);
                sincosf(angle, &turns[e].y, &turns[e].x);
            }
            const int64_t row = (int64_t{other} * call.n_key_heads + key_head) * D;
            const auto key = Unturned::of<T, D>(static_cast<const T*>(call.k) + row, d * 8);
            reader.write(call.at[other], turned_key<T, D>(key, d * 8, turns),
                         *reinterpret_cast<const uint4*>(static_cast<const T*>(call.v) + row + d * 8));
        }
    }
    if (any) sync_threads();
    return any;
}

// y of this block's share of the rows' elements, from the sums of all blocks of the cluster.
template <typename T, int D, int kRows>
__device__ __forceinline__ void write_rows(const Call& call, const Shared<D, kRows>& shared, const Task<kRows>& task) {
    const int n_blocks = static_cast<int>(gridDim.x), each = ceil_div(kRows * D, n_blocks);
    for (int at = static_cast<int>(threadIdx.x); at < each; at += kThreads) {
        const int i = static_cast<int>(blockIdx.x) * each + at, row = i / D;
        if (i >= kRows * D) return;
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
        if (task.first_row + row < call.group)
            static_cast<T*>(call.y)[task.row(call, row) * D + i % D] = from_float<T>(sum / total);
    }
}

// Block (rank in the cluster, key head, token and rows).
template <typename T, int D, int kRows>
__global__ void __launch_bounds__(kThreads) attend_tokens(const __grid_constant__ Call call) {
    using S = Sizes<D, kRows>;
    auto& shared = *reinterpret_cast<Shared<D, kRows>*>(dynamic_shared());
    const Task<kRows> task(call);
    const Place at = Place::of<S>();
    let_next_start();
    ask_ahead<T, D>(call, task);
    wait_for_previous();
    const Range keys = task.keys(call, call.spans[2 * task.token], call.spans[2 * task.token + 1]);
    const Reader<T, S> reader(call, at, task.token, task.key_head, keys.end);
    Batch<S::kEach> batch;
    reader.read(at, keys.begin, batch);
    Unturned rows[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r)
        rows[r] = Unturned::of<T, D>(
            static_cast<const T*>(call.q) + task.row(call, min(r, call.group - 1 - task.first_row)) * D, at.d);
    const int64_t own_row = task.own_row(call) * D;
    const auto unturned_key = Unturned::of<T, D>(static_cast<const T*>(call.k) + own_row, at.d);
    const uint4 own_value = *reinterpret_cast<const uint4*>(static_cast<const T*>(call.v) + own_row + at.d);
    if (call.n_tokens > 1 && write_others<T, D>(call, reader, keys, task.token, task.key_head))
        reader.read(at, keys.begin, batch);
    fill_turns<D>(call, task.token, shared.turns);
    const uint4 own_key = turned_key<T, D>(unturned_key, at.d, shared.turns + at.d % (D / 2));
    attend_share<T>(call, shared, at, reader, keys, batch, rows, own_key, own_value);
    cluster_barrier();
    write_rows<T>(call, shared, task);
    if (blockIdx.x == 0 && task.first_row == 0 && static_cast<int>(threadIdx.x) < S::kLanes && reader.own >= 0 &&
        reader.own < call.n_keys)
        reader.write(reader.own, own_key, own_value);
    cluster_barrier();
}

// Blocks of a cluster for so many clusters: no more than run at a time, one on a multiprocessor. Of eight, and of four,
// far fewer than a card has room for find their multiprocessors side by side.
int cluster_size(int n_clusters, const Device& device) {
    if (8 * n_clusters <= device.n_sms / 2) return 8;
    if (4 * n_clusters <= device.n_sms / 2) return 4;
    return 2 * n_clusters <= device.n_sms ? 2 : 1;
}

template <typename T, int D, int kRows>
void attend(const CudaContext& ctx, const Call& call) {
    const int n_tasks = call.n_tokens * ceil_div(call.group, kRows);
    const auto n = static_cast<unsigned>(cluster_size(call.n_key_heads * n_tasks, *ctx.device));
    const dim3 grid(n, static_cast<unsigned>(call.n_key_heads), static_cast<unsigned>(n_tasks));
    launch_clusters_dependent(ctx, attend_tokens<T, D, kRows>, grid, dim3(n), kThreads, sizeof(Shared<D, kRows>), call);
}

template <typename T, int D>
void attend(const CudaContext& ctx, const Call& call) {
    if (call.group == 1) attend<T, D, 1>(ctx, call);
    else if (call.group <= 4) attend<T, D, 4>(ctx, call);
    else attend<T, D, 8>(ctx, call);
}

template <typename T>
void attend(const CudaContext& ctx, const Call& call, int64_t D) {
    D == 64 ? attend<T, 64>(ctx, call) : attend<T, 128>(ctx, call);
}

bool has_whole_rows(const View& x) { return rows_are_wide(x) && x.contiguous(); }

}  // namespace

bool cached_attention_token_takes(const CudaContext& ctx, const KernelArgs& args) {
    const View &k_cache = args.out[0], &v_cache = args.out[1], &q = args.in[2];
    const int64_t T = q.shape[0];
    return args.in[7].shape[0] == T && T * q.shape[1] <= 65535 && hopper_takes(q.shape[2], q.dtype, *ctx.device) &&
           k_cache.dtype == q.dtype && v_cache.dtype == q.dtype && rows_are_wide(k_cache) && rows_are_wide(v_cache) &&
           has_whole_rows(q) && has_whole_rows(args.in[3]) && has_whole_rows(args.in[4]) && has_whole_rows(args.out[2]);
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
                    .positions = args.in[5].as<int32_t>(),
                    .at = args.in[7].as<int32_t>(),
                    .spans = args.in[8].as<int32_t>(),
                    .frequencies = args.in[6].as<float>(),
                    .k_token = k_cache.strides[0],
                    .k_head = k_cache.strides[1],
                    .v_token = v_cache.strides[0],
                    .v_head = v_cache.strides[1],
                    .scale = args.param<AttentionParams>().scale,
                    .n_tokens = static_cast<int>(shape.T),
                    .n_keys = static_cast<int>(shape.S),
                    .n_key_heads = static_cast<int>(shape.G),
                    .group = static_cast<int>(shape.group)};
    q.dtype == DType::f16 ? attend<f16>(ctx, call, shape.D) : attend<bf16>(ctx, call, shape.D);
}

}  // namespace ggq::cuda
