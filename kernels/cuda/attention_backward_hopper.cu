// The gradient of attention on Hopper, f16 or bf16, head sizes 64 and 128: five products instead of the seven of
// attention_backward_mma.cu, each by whole warp groups, of tiles that the copy engine brings.
//
// A block of threads owns 128 keys; tiles of 64 queries pass by, head after head of the group. Two groups of 4 warps
// have 64 of the keys each, and scores stand with the keys as rows:
//   s^T = k q^T,  dp^T = v dy^T,  p = exp(s - lse),  ds = p (dp - delta),  dv += p^T dy,  dk += ds^T q
// where p and ds go from registers to products. ds also goes to shared memory, where both groups take it for
//   dq = ds k,  half of the columns each,
// which is a sum over blocks. Blocks add it to floats in memory (the copy engine does so) one after another: `turns`
// counts those that have added to a tile of queries, and each waits for the one before it, so that every sum has one
// order, and the same bits, however blocks run. The first one writes. A last kernel scales and rounds.
//
// Which block is before which (attention_order.h): late keys before early ones, as blocks that start together reach a
// tile of queries in that order where attention is causal. Blocks wait for earlier ones alone, so some block can always
// go on. But early keys have most to do, and starting last they end last: where all blocks of a part run at a time, and
// the documents are such that it pays, each takes an early tile of keys after a late one.
//
// Floor: 10 T S D operations a head, half of that where attention is causal; floats of dq are added once for 128 keys.
#include "kernels/cuda/attention_backward_hopper.cuh"

#include "kernels/cuda/attention_forms.h"
#include "kernels/cuda/tensor_map.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

using namespace hopper;

using Scores = float[kQueries / 8][4];  // of a group's keys (rows) and a tile's queries
using Weights = uint32_t[kQueries / 16][4];

// dq = ds k for a half of the columns.
template <typename T, int n>
__device__ __forceinline__ void start_query_gradient(float (&dq)[n][4], uint64_t ds, uint64_t k) {
    begin_products();
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step)
        multiply<T, true, true>(dq, moved(ds, step * 16 * kPanelRowBytes), moved(k, step * 16 * kPanelRowBytes),
                                step > 0);
    commit_products();
}

// s becomes p; `first_key` is that of the warp's rows.
template <int n>
__device__ __forceinline__ void to_weights(float (&s)[n][4], const TileFacts& facts, float scale, bool masked,
                                           int first_key) {
#pragma unroll
    for (int c = 0; c < n; ++c) {
        const float2 lse = *reinterpret_cast<const float2*>(facts.lse + fragment_col(c, 0));
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            s[c][e] = exp2_approx(fmaf(s[c][e], scale, e % 2 == 0 ? -lse.x : -lse.y));
            if (masked && !facts.span[fragment_col(c, e % 2)].has(first_key + fragment_row(e / 2))) s[c][e] = 0;
        }
    }
}

// dp becomes ds.
template <int n>
__device__ __forceinline__ void to_score_gradient(float (&dp)[n][4], const float (&p)[n][4], const TileFacts& facts) {
#pragma unroll
    for (int c = 0; c < n; ++c) {
        const float2 delta = *reinterpret_cast<const float2*>(facts.delta + fragment_col(c, 0));
#pragma unroll
        for (int e = 0; e < 4; ++e) dp[c][e] = p[c][e] * (dp[c][e] - (e % 2 == 0 ? delta.x : delta.y));
    }
}

template <int n>
__device__ __forceinline__ void write_partial(const Call& call, float* to, const float (&c)[n][4], int key,
                                              int key_head) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int64_t row = key + fragment_row(r);
        if (row >= call.n_keys) continue;
        float* at = to + (row * call.n_key_heads + key_head) * (8 * n);
#pragma unroll
        for (int i = 0; i < n; ++i)
            *reinterpret_cast<float2*>(at + fragment_col(i, 0)) = make_float2(c[i][2 * r], c[i][2 * r + 1]);
    }
}

template <int n>
__device__ __forceinline__ void clear(float (&c)[n][4]) {
#pragma unroll
    for (int i = 0; i < n; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) c[i][e] = 0;
}

// Barriers of warps: 1 is that of both groups, 2 + group a group's own.
template <typename T, typename S>
__device__ __forceinline__ void compute(const Call& call, const Unit& unit, S& shared, const CUtensorMap& dk_map,
                                        const CUtensorMap& dv_map, int group) {
    const bool leader = threadIdx.x % kWarpGroup == 0, speaker = threadIdx.x % kWarp == 0;
    const int own = group * 64, warp_row = own + threadIdx.x % kWarpGroup / kWarp * 16;
    const uint64_t k = operand(shared.k + own * kPanelRowBytes), v = operand(shared.v + own * kPanelRowBytes);
    const uint64_t k_half = operand(shared.k + group * S::kHalf / kPanel * kKeyPanel + group * S::kHalf % kPanel * 2);
    const float scale = call.scale * kLog2E;
    float dk[S::kHead / 8][4], dv[S::kHead / 8][4];
    clear(dk), clear(dv);

    const auto finish_keys = [&](const Step& step) {
        if (call.n_splits > 1) {
            const int64_t n = static_cast<int64_t>(call.n_keys) * call.n_key_heads * S::kHead;
            const int split = unit.split, key = step.first_key + warp_row;
            write_partial(call, call.partials + split * n, dk, key, unit.key_head);
            write_partial(call, call.partials + (call.n_splits + split) * n, dv, key, unit.key_head);
        }
        sync_warps(1, kGroups * kWarpGroup);  // nobody reads k any more
        if (call.n_splits == 1) {
            write_result<T, kKeyPanel>(shared.k, warp_row, dk, {call.scale, call.scale});
            write_result<T, kKeyPanel>(shared.v, warp_row, dv, {1, 1});
            publish_shared();
            sync_warps(2 + group, kWarpGroup);
        }
        if (leader) {
            if (call.n_splits == 1) {
#pragma unroll
                for (int panel = 0; panel < S::kPanels; ++panel) {
                    const int at = panel * kKeyPanel + own * kPanelRowBytes;
                    store_panel(&dk_map, shared.k + at, panel * kPanel, unit.key_head, step.first_key + own);
                    store_panel(&dv_map, shared.v + at, panel * kPanel, unit.key_head, step.first_key + own);
                }
                commit_stores();
                wait_stores_read<0>();
            }
            arrive(&shared.kv_empty);
        }
        clear(dk), clear(dv);
    };

    int n_closed = 0, n_added = 0;  // tiles that have come to dq
    for (int n = 0;; ++n) {
        const int stage = n % kStages;
        wait(&shared.full[stage], n / kStages & 1);
        const Step step = shared.steps[stage];
        if (step.kind == Step::end) break;
        wait(&shared.kv_full, n_closed & 1);
        if (step.kind == Step::close) {
            finish_keys(step);
            if (speaker) arrive(&shared.empty[stage]);
            ++n_closed;
            continue;
        }
        const TileFacts& facts = shared.facts[stage];
        const int turn = n_added % kStages;
        Scores s, dp;
        Weights a, b;
        start_scores<T, S::kHead, kKeyPanel, kQueryPanel>(s, k, operand(shared.q[stage]));
        start_scores<T, S::kHead, kKeyPanel, kQueryPanel>(dp, v, operand(shared.dy[stage]));
        wait_products<1>();
        pin(s);
        const int first_key = step.first_key + own;
        if (step.all_begin > first_key || first_key + 64 > step.all_end)
            to_weights(s, facts, scale, true, step.first_key + warp_row);
        else to_weights(s, facts, scale, false, 0);
        pack<T>(a, s);
        pin(a), pin(dv);
        start_sums<T>(dv, a, operand(shared.dy[stage], kQueryPanel));
        wait_products<1>();
        pin(dp);
        to_score_gradient(dp, s, facts);
        pack<T>(b, dp);
#pragma unroll
        for (int i = 0; i < kQueries / 16; ++i) write_operand(shared.ds[turn], warp_row, i, b[i]);
        publish_shared();
        sync_warps(1, kGroups * kWarpGroup);  // also: both groups are done with the ds before this one
        float dq[S::kHalf / 8][4];
        start_query_gradient<T>(dq, operand(shared.ds[turn]), k_half);
        pin(b), pin(dk);
        start_sums<T>(dk, b, operand(shared.q[stage], kQueryPanel));
        wait(&shared.dq_empty[turn], (n_added++ / kStages & 1) ^ 1);
        wait_products<1>();
        pin(dq), pin(dv), pin(a);
        float4* to = reinterpret_cast<float4*>(shared.dq[turn][group]) + threadIdx.x % kWarpGroup;
#pragma unroll
        for (int i = 0; i < S::kHalf / 8; ++i) to[i * kWarpGroup] = make_float4(dq[i][0], dq[i][1], dq[i][2], dq[i][3]);
        publish_shared();
        __syncwarp();
        if (speaker) arrive(&shared.dq_full[turn]);
        wait_products<0>();
        pin(dk), pin(b);
        if (speaker) arrive(&shared.empty[stage]);
    }
    if (leader) wait_stores<0>();
}

template <typename T, typename S>
__global__ void __launch_bounds__(kThreads, 1)
    find_gradients(const Call call, const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k,
                   const __grid_constant__ CUtensorMap v, const __grid_constant__ CUtensorMap dy,
                   const __grid_constant__ CUtensorMap dk, const __grid_constant__ CUtensorMap dv) {
    if constexpr (kSm90a) {
        S& shared = *reinterpret_cast<S*>(dynamic_shared());
        if (threadIdx.x == 0) {
            shared.half = *call.half;
            shared.unit = find_unit(call, atomicAdd(call.ticket, 1), shared.half);
            init_barrier(&shared.kv_full, 1), init_barrier(&shared.kv_empty, kGroups);
#pragma unroll
            for (int stage = 0; stage < kStages; ++stage) {
                init_barrier(&shared.full[stage], 1), init_barrier(&shared.empty[stage], kGroups * 4);
                init_barrier(&shared.dq_full[stage], kGroups * 4), init_barrier(&shared.dq_empty[stage], 1);
            }
            publish_barriers();
        }
        __syncthreads();
        if (shared.unit.keys.n == 0) return;
        const int group = threadIdx.x / kWarpGroup;
        if (group == kGroups) {
            leave_registers<24>();
            const int warp = threadIdx.x % kWarpGroup / kWarp;
            if (warp == 0) copy_tiles(call, shared.unit, shared, q, k, v, dy);
            else if (warp <= kStages) add_query_gradients(call, shared.unit, shared, warp - 1);
        } else {
            take_registers<240>();
            compute<T>(call, shared.unit, shared, dk, dv, group);
        }
    }
}

// Says where second tiles of keys end: half of them or none. One block, a thread a tile of keys.
__global__ void __launch_bounds__(kMostFolded)
    choose_half(int* half, const KeyRange* ranges, int n_tiles, int n_key_tiles, int n_keys) {
    __shared__ int work[kMostFolded], all, longest_pair;
    const int at = threadIdx.x, other = n_key_tiles - 1 - at;
    int n = 0;
    for (int tile = 0; at < n_key_tiles && tile < n_tiles; ++tile)
        n += ranges[tile].meets(at * kKeys, min((at + 1) * kKeys, n_keys));
    work[at] = n;
    if (at == 0) all = longest_pair = 0;
    __syncthreads();
    atomicAdd(&all, n);
    if (other >= 0) atomicMax(&longest_pair, other == at ? n : n + work[other]);
    __syncthreads();
    if (at == 0 && folding_pays({all, longest_pair}, n_key_tiles)) *half = n_key_tiles / 2;
}

// y = scale * dq, rounded, of one tile of queries and head a block: heads [first_head, ...). In dq a tile is
// [2][kHalf / 8][128 threads][4], as the groups of find_gradients hold it. Tiles that see no keys were never written.
template <typename T, int kHead>
__global__ void __launch_bounds__(256) write_query_gradient(T* y, const float* dq, const KeyRange* ranges, float scale,
                                                            int n_queries, int n_heads, int first_head, int n_tiles) {
    constexpr int kStride = kHead + 8;
    __shared__ __align__(16) T rows[kQueries * kStride];
    const int tile = blockIdx.x, head = first_head + blockIdx.y;
    const float* from = dq + (static_cast<int64_t>(blockIdx.y) * n_tiles + tile) * (kQueries * kHead);
    const KeyRange range = ranges[tile];
    const float factor = range.any_begin < range.any_end ? scale : 0.f;
    for (int i = threadIdx.x; i < kQueries * kHead / 4; i += 256) {
        const int thread = i % kWarpGroup, column = i / kWarpGroup * 8 + thread % 4 * 2;  // halves follow one another
        const int row = thread / kWarp * 16 + thread % kWarp / 4;
        const float4 x = factor == 0 ? make_float4(0, 0, 0, 0) : reinterpret_cast<const float4*>(from)[i];
        *reinterpret_cast<uint32_t*>(rows + row * kStride + column) = pack_pair<T>(x.x * factor, x.y * factor);
        *reinterpret_cast<uint32_t*>(rows + (row + 8) * kStride + column) = pack_pair<T>(x.z * factor, x.w * factor);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kQueries * kHead / 8; i += 256) {
        const int row = i / (kHead / 8), piece = i % (kHead / 8), query = tile * kQueries + row;
        if (query < n_queries)
            *reinterpret_cast<uint4*>(y + (static_cast<int64_t>(query) * n_heads + head) * kHead + piece * 8) =
                *reinterpret_cast<const uint4*>(rows + row * kStride + piece * 8);
    }
}

template <typename T, int kHead>
void find_in_passes(const CudaContext& ctx, const KernelArgs& args, const AttentionBackwardPlan& plan) {
    const AttentionShape shape(args.in[1], args.in[2]);
    std::byte* workspace = args.workspace.data();
    const auto at = [&](int64_t offset) { return workspace + offset; };
    const int n_tiles = static_cast<int>(plan.padded_queries / kQueries);
    const int64_t n_key_tiles = ceil_div(shape.S, kKeys), n_parts = shape.G * plan.n_splits;
    const int heads_a_part = static_cast<int>(shape.H / n_parts);
    Call call{.facts = reinterpret_cast<const TileFacts*>(at(plan.facts)),
              .ranges = reinterpret_cast<const KeyRange*>(at(plan.ranges)),
              .dq = reinterpret_cast<float*>(at(plan.dq)),
              .turns = reinterpret_cast<int*>(at(plan.turns)),
              .ticket = nullptr,
              .half = nullptr,
              .partials = reinterpret_cast<float*>(at(plan.partials)),
              .scale = args.param<AttentionParams>().scale,
              .n_keys = static_cast<int>(shape.S),
              .n_key_heads = static_cast<int>(shape.G),
              .group = static_cast<int>(shape.group),
              .n_splits = static_cast<int>(plan.n_splits),
              .first_part = 0,
              .n_parts = 0,
              .n_tiles = n_tiles,
              .n_key_tiles = static_cast<int>(n_key_tiles)};
    int* const tickets = call.turns + shape.H * n_tiles;
    int* const half = tickets + n_parts;
    call.half = half;
    if (plan.may_fold)
        launch(ctx, choose_half, dim3(1), dim3(kMostFolded), 0, half, call.ranges, n_tiles, n_key_tiles, shape.S);
    const auto panels = [&](const View& x, int rows) { return head_panels(x, rows); };
    const CUtensorMap q = panels(args.in[1], kQueries), k = panels(args.in[2], kKeys), v = panels(args.in[3], kKeys),
                      dy = panels(args.in[0], kQueries), dk = panels(args.out[1], 64), dv = panels(args.out[2], 64);
    for (int64_t part = 0; part < n_parts; part += plan.parts_a_pass) {
        const int64_t n = n_parts - part < plan.parts_a_pass ? n_parts - part : plan.parts_a_pass;
        call.first_part = static_cast<int>(part);
        call.n_parts = static_cast<int>(n);
        call.ticket = tickets + part;
        launch(ctx, find_gradients<T, Shared<kHead>>, dim3(static_cast<unsigned>(n * n_key_tiles)), dim3(kThreads),
               sizeof(Shared<kHead>), call, q, k, v, dy, dk, dv);
        launch(ctx, write_query_gradient<T, kHead>,
               dim3(static_cast<unsigned>(n_tiles), static_cast<unsigned>(n * heads_a_part)), dim3(256), 0,
               args.out[0].as<T>(), call.dq, call.ranges, call.scale, static_cast<int>(shape.T),
               static_cast<int>(shape.H), static_cast<int>(part * heads_a_part), n_tiles);
    }
}

template <typename T>
void find_gradients_of(const CudaContext& ctx, const KernelArgs& args, const AttentionBackwardPlan& plan) {
    if (args.in[1].shape[2] == 64) find_in_passes<T, 64>(ctx, args, plan);
    else find_in_passes<T, 128>(ctx, args, plan);
}

}  // namespace

bool attention_backward_hopper_takes(const KernelArgs& args, const AttentionBackwardPlan& plan) {
    if (!plan.hopper) return false;
    for (int i = 0; i < 4; ++i)
        if (!has_panels(args.in[i])) return false;
    for (const View& out : args.out)
        if (!has_panels(out)) return false;
    return true;
}

void attention_backward_hopper(const CudaContext& ctx, const KernelArgs& args, const AttentionBackwardPlan& plan) {
    if (args.in[0].dtype == DType::f16) find_gradients_of<f16>(ctx, args, plan);
    else find_gradients_of<bf16>(ctx, args, plan);
}

}  // namespace ggq::cuda
