// Attention on Hopper (after Shah et al., FlashAttention-3, 2024): the same sums as attention_mma.cu, with products of
// whole warp groups and tiles that the copy engine brings. f16 or bf16, head sizes 64 and 128.
//
// A block takes a tile of queries of a head. One warp has tiles copied: queries, then keys and values, 128 at a time,
// two stages of each; groups of 4 warps compute, 64 queries each:
//   s = q k^T,  m' = max(m, rowmax(s)),  p = 2^(c s - m'),  sum = sum 2^(m - m') + rowsum(p),  o = o 2^(m - m') + p v
// The scores of the next keys are computed beside p v of the present ones, and groups take turns: while one has its
// products done, another raises to powers. p stays in registers; m is raised only when a score exceeds it by kSlack.
// Only tiles that some row of a group sees in part are masked.
//
// Floor: 4 T S D operations a head, half of that where attention is causal. Of 128 x 128 scores, products take 2048
// cycles with heads of 128 (1024 with 64), powers 1024.
#include "kernels/cuda/attention_hopper.cuh"

#include "kernels/cuda/attention_forms.h"
#include "kernels/cuda/tensor_map.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

using namespace hopper;

constexpr int kKeys = 128, kStages = 2;

struct Call {
    const int* spans;  // [T,2]
    float* lse;        // [H,T]
    float scale;       // times log2(e)
    int n_queries, n_keys, group;
};

// What a block works on: keys [begin, end) for any of its queries, and those that all of a group's queries see.
struct Work {
    int begin, end;
    int all_begin[3], all_end[3];
};

// Shared memory of an instance; kGroups groups compute, a further one copies.
template <int kHead_, int kGroups_>
struct Shared {
    static constexpr int kHead = kHead_, kGroups = kGroups_, kPanels = kHead / kPanel;
    static constexpr int kRows = 64 * kGroups, kThreads = kWarpGroup * (kGroups + 1);
    static constexpr int kQueryPanel = 64 * kPanelRowBytes, kKeyPanel = kKeys * kPanelRowBytes;
    static constexpr int kGroupBytes = kPanels * kQueryPanel, kTileBytes = kPanels * kKeyPanel;

    unsigned char q[kGroups][kGroupBytes];  // later y
    unsigned char k[kStages][kTileBytes], v[kStages][kTileBytes];
    Barrier q_full, k_full[kStages], k_empty[kStages], v_full[kStages], v_empty[kStages];
    Work work;
    float unread;
};

// The keys that the queries of a tile see.
template <typename S>
__device__ __forceinline__ Work find_work(const Call& call, int first) {
    Work work;
    int begin = INT_MAX, end = 0;
#pragma unroll
    for (int g = 0; g < S::kGroups; ++g) {
        const KeyRange range =
            range_of_queries<64>(call.spans, min(first + 64 * g, call.n_queries - 1), call.n_queries);
        begin = min(begin, range.any_begin), end = max(end, range.any_end);
        work.all_begin[g] = range.all_begin, work.all_end[g] = range.all_end;
    }
    work.begin = begin;
    work.end = max(min(end, call.n_keys), begin + 1);
    return work;
}

// The copying warp. What to work on is known from the first tile of keys on.
template <typename S>
__device__ __forceinline__ void copy_tiles(const Call& call, S& shared, const CUtensorMap& q, const CUtensorMap& k,
                                           const CUtensorMap& v, int head, int first) {
    const bool leader = threadIdx.x % kWarp == 0;
    if (leader) {
        arrive_expecting(&shared.q_full, S::kGroups * S::kGroupBytes);
#pragma unroll
        for (int g = 0; g < S::kGroups; ++g)
#pragma unroll
            for (int panel = 0; panel < S::kPanels; ++panel)
                load_panel(shared.q[g] + panel * S::kQueryPanel, &q, &shared.q_full, panel * kPanel, head,
                           first + 64 * g);
    }
    const Work work = find_work<S>(call, first);
    if (!leader) return;
    shared.work = work;
    const int key_head = head / call.group;
    int n = 0;
    const auto load = [&](Barrier* full, Barrier* empty, unsigned char(&tiles)[kStages][S::kTileBytes],
                          const CUtensorMap& map, int key) {
        const int stage = n % kStages;
        wait(&empty[stage], (n / kStages & 1) ^ 1);
        arrive_expecting(&full[stage], S::kTileBytes);
#pragma unroll
        for (int panel = 0; panel < S::kPanels; ++panel)
            load_panel(tiles[stage] + panel * S::kKeyPanel, &map, &full[stage], panel * kPanel, key_head, key);
    };
#pragma unroll 1
    for (int key = work.begin; key < work.end; key += kKeys, ++n) {
        load(shared.k_full, shared.k_empty, shared.k, k, key);
        load(shared.v_full, shared.v_empty, shared.v, v, key);
    }
}

using Scores = float[kKeys / 8][4];
using Weights = uint32_t[kKeys / 16][4];

// Rows fragment_row(r) of a warp.
struct RowState {
    float top[2] = {-INFINITY, -INFINITY};
    float sum[2] = {0, 0};  // of this lane's columns
};

template <int n>
__device__ __forceinline__ void hide(float (&s)[n][4], const Span (&spans)[2], int first_key) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int begin = spans[r].begin - first_key - fragment_col(0, 0), seen = spans[r].end - spans[r].begin;
#pragma unroll
        for (int c = 0; c < n; ++c)
#pragma unroll
            for (int j = 0; j < 2; ++j)
                if (static_cast<unsigned>(8 * c + j - begin) >= static_cast<unsigned>(seen))
                    s[c][2 * r + j] = -INFINITY;
    }
}

// Turns scores into p and brings the state up to date; true if o has to be multiplied by the factors for that.
template <int n>
__device__ __forceinline__ bool exponentiate(float (&s)[n][4], RowState& rows, float (&factor)[2], float scale) {
    bool raised = false;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        float highest = -INFINITY;
#pragma unroll
        for (int c = 0; c < n; ++c) highest = fmaxf(highest, fmaxf(s[c][2 * r], s[c][2 * r + 1]));
        highest = warp_reduce<Max, 4>(highest) * scale;
        const float old = rows.top[r];
        const bool raise = highest > old + kSlack;  // also the first time: the old one is minus infinity
        rows.top[r] = raise ? highest : old;
        factor[r] = raise ? exp2_approx(old - highest) : 1.f;
        raised |= raise;
        const float base = rows.top[r] == -INFINITY ? 0.f : rows.top[r];  // nothing seen so far
        float sum[2] = {0, 0};
#pragma unroll
        for (int c = 0; c < n; ++c)
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                s[c][2 * r + j] = exp2_approx(fmaf(s[c][2 * r + j], scale, -base));
                sum[j] += s[c][2 * r + j];
            }
        rows.sum[r] = rows.sum[r] * factor[r] + (sum[0] + sum[1]);
    }
    return __any_sync(0xffffffffu, raised);
}

// Factors times o, by way of shared memory to rows [first, first + 64) of y.
template <typename T, typename S>
__device__ __forceinline__ void write_rows(unsigned char* tile, const float (&o)[S::kHead / 8][4],
                                           const float (&factor)[2], const CUtensorMap& y, int head, int first,
                                           int barrier) {
    write_result<T, S::kQueryPanel>(tile, threadIdx.x % kWarpGroup / kWarp * 16, o, factor);
    publish_shared();
    sync_warps(barrier, kWarpGroup);
    if (threadIdx.x % kWarpGroup != 0) return;
#pragma unroll
    for (int panel = 0; panel < S::kPanels; ++panel)
        store_panel(&y, tile + panel * S::kQueryPanel, panel * kPanel, head, first);
    commit_stores();
    wait_stores_read<0>();
}

// A computing group. Barriers of warps: 1 + g says that it is group g's turn, the following ones are the groups' own.
template <typename T, typename S>
__device__ __forceinline__ void compute(const Call& call, S& shared, const CUtensorMap& y, int head, int first,
                                        int group) {
    const int next_group = group + 1 < S::kGroups ? group + 1 : 0;
    const bool speaker = threadIdx.x % kWarp == 0;
    const int query = first + threadIdx.x % kWarpGroup / kWarp * 16 + fragment_row(0);
    const Span spans[2] = {span_of(call.spans, min(query, call.n_queries - 1)),
                           span_of(call.spans, min(query + 8, call.n_queries - 1))};
    const auto release = [&](Barrier* empty) {
        if (speaker) arrive(empty);
    };
    const auto k_at = [&](int tile) { return operand(shared.k[tile % kStages]); };
    const auto v_at = [&](int tile) { return operand(shared.v[tile % kStages], S::kKeyPanel); };
    if (group == S::kGroups - 1) arrive_warps(1, 2 * kWarpGroup);

    wait(&shared.q_full, 0);
    wait(&shared.k_full[0], 0);
    const uint64_t q = operand(shared.q[group]);
    Scores s;
    start_scores<T, S::kHead, S::kQueryPanel, S::kKeyPanel>(s, q, k_at(0));
    const int begin = shared.work.begin, end = shared.work.end;
    const int all_begin = shared.work.all_begin[group], all_end = shared.work.all_end[group];
    RowState rows;
    float o[S::kHead / 8][4] = {}, factor[2];
    const auto weigh = [&](int key) {
        if (key < all_begin || key + kKeys > all_end) hide(s, spans, key);
        return exponentiate(s, rows, factor, call.scale);
    };
    wait_products<0>();
    pin(s);
    release(&shared.k_empty[0]);
    Weights p;
    weigh(begin);
    pack<T>(p, s);
    int n = 0;  // the tile of keys that p belongs to
    for (int key = begin + kKeys; key < end; key += kKeys, ++n) {
        const int next = n + 1;
        wait(&shared.k_full[next % kStages], next / kStages & 1);
        sync_warps(1 + group, 2 * kWarpGroup);
        pin(s), pin(p), pin(o);
        start_scores<T, S::kHead, S::kQueryPanel, S::kKeyPanel>(s, q, k_at(next));
        wait(&shared.v_full[n % kStages], n / kStages & 1);
        start_sums<T>(o, p, v_at(n));
        arrive_warps(1 + next_group, 2 * kWarpGroup);
        wait_products<1>();
        pin(s);
        release(&shared.k_empty[next % kStages]);
        const bool raised = weigh(key);
        // This store needs all of p: without it the compiler waits for the products first and raises to powers after.
        *static_cast<volatile float*>(&shared.unread) = rows.sum[0] + rows.sum[1];
        wait_products<0>();
        pin(o), pin(p);
        release(&shared.v_empty[n % kStages]);
        if (raised)
#pragma unroll
            for (int c = 0; c < S::kHead / 8; ++c)
#pragma unroll
                for (int e = 0; e < 4; ++e) o[c][e] *= factor[e / 2];
        pack<T>(p, s);
    }
    wait(&shared.v_full[n % kStages], n / kStages & 1);
    pin(p), pin(o);
    start_sums<T>(o, p, v_at(n));
    float inverse[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const float sum = warp_reduce<Sum, 4>(rows.sum[r]);
        inverse[r] = 1 / sum;
        if (fragment_col(0, 0) == 0 && query + 8 * r < call.n_queries)
            call.lse[static_cast<int64_t>(head) * call.n_queries + query + 8 * r] = (rows.top[r] + log2f(sum)) * kLn2;
    }
    wait_products<0>();
    pin(o), pin(p);
    write_rows<T, S>(shared.q[group], o, inverse, y, head, first, 1 + S::kGroups + group);  // nobody reads q any more
}

// Block (head, tile): the last tiles, which see most keys where attention is causal, go first.
template <typename T, typename S>
__global__ void __launch_bounds__(S::kThreads, 1)
    attend(const Call call, const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k,
           const __grid_constant__ CUtensorMap v, const __grid_constant__ CUtensorMap y) {
    if constexpr (kSm90a) {
        S& shared = *reinterpret_cast<S*>(dynamic_shared());
        const int group = threadIdx.x / kWarpGroup, head = blockIdx.x, first = (gridDim.y - 1 - blockIdx.y) * S::kRows;
        if (threadIdx.x == 0) {
            init_barrier(&shared.q_full, 1);
#pragma unroll
            for (int stage = 0; stage < kStages; ++stage) {
                init_barrier(&shared.k_full[stage], 1), init_barrier(&shared.k_empty[stage], S::kGroups * 4);
                init_barrier(&shared.v_full[stage], 1), init_barrier(&shared.v_empty[stage], S::kGroups * 4);
            }
            publish_barriers();
        }
        __syncthreads();
        if (group == S::kGroups) {
            leave_registers<S::kGroups == 2 ? 24 : 32>();
            if (threadIdx.x % kWarpGroup < kWarp) copy_tiles(call, shared, q, k, v, head, first);
        } else {
            take_registers<S::kGroups == 2 ? 240 : 160>();
            compute<T>(call, shared, y, head, first + 64 * group, group);
        }
    }
}

template <typename T, typename S>
void attend_heads(const CudaContext& ctx, const KernelArgs& args) {
    const AttentionShape shape(args.in[0], args.in[1]);
    const dim3 grid(static_cast<unsigned>(shape.H), static_cast<unsigned>(ceil_div(shape.T, S::kRows)));
    const Call call{.spans = args.in[3].as<int32_t>(),
                    .lse = args.out[1].as<float>(),
                    .scale = args.param<AttentionParams>().scale * kLog2E,
                    .n_queries = static_cast<int>(shape.T),
                    .n_keys = static_cast<int>(shape.S),
                    .group = static_cast<int>(shape.group)};
    launch(ctx, attend<T, S>, grid, dim3(S::kThreads), sizeof(S), call, head_panels(args.in[0], 64),
           head_panels(args.in[1], kKeys), head_panels(args.in[2], kKeys), head_panels(args.out[0], 64));
}

template <typename T>
void attend_in(const CudaContext& ctx, const KernelArgs& args) {
    if (args.in[0].shape[2] == 64) attend_heads<T, Shared<64, 3>>(ctx, args);
    else attend_heads<T, Shared<128, 2>>(ctx, args);
}

}  // namespace

bool attention_hopper_takes(const CudaContext& ctx, const KernelArgs& args) {
    const View &q = args.in[0], &k = args.in[1], &v = args.in[2], &y = args.out[0];
    return ctx.device->tuning.attention_hopper == 1 && hopper_takes(q.shape[2], q.dtype, *ctx.device) &&
           k.dtype == q.dtype && v.dtype == q.dtype && args.param<AttentionParams>().scale > 0 && has_panels(q) &&
           has_panels(k) && has_panels(v) && has_panels(y);
}

void attention_hopper(const CudaContext& ctx, const KernelArgs& args) {
    if (args.in[0].dtype == DType::f16) attend_in<f16>(ctx, args);
    else attend_in<bf16>(ctx, args);
}

}  // namespace ggq::cuda
