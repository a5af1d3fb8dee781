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
// Which block is before which: blocks take numbers as they start, and none waits for a later number, or only for one of
// as many as run at a time. Where attention is causal early keys have most to do. Up to so many keys blocks take two
// tiles of keys, late ones and early ones that have equally much to do together; of a tile of queries late keys come
// first, last ones first, then early keys from the first on, which is the order that they reach it in. Beyond, blocks
// take one tile, early keys first.
//
// Floor: 10 T S D operations a head, half of that where attention is causal; floats of dq are added once for 128 keys.
#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/attention_forms.h"
#include "kernels/cuda/hopper_products.cuh"
#include "kernels/cuda/tensor_map.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

using namespace hopper;

constexpr int kKeys = static_cast<int>(kHopperKeys), kQueries = static_cast<int>(kGradientTile), kStages = 2;
constexpr int kGroups = 2, kThreads = kWarpGroup * (kGroups + 1);
constexpr int kQueryPanel = kQueries * kPanelRowBytes, kKeyPanel = kKeys * kPanelRowBytes;

struct Call {
    const QueryFacts* facts;  // [H,padded]
    const KeyRange* ranges;   // of tiles of queries
    float* dq;                // of this call's heads, as write_query_gradient reads it
    int *turns, *ticket;      // turns[H,tiles of queries]
    float* partials;          // dk[n_splits,S,G,D], then dv
    float scale;
    int n_keys, n_key_heads, group, n_splits, padded;
    int first_part, n_tiles, n_blocks, half;  // parts are splits of key heads; blocks from `half` on come first
};

// What passes from the copying warp to the groups beside tiles: whether there is a tile, or a block's keys are done, or
// all; the first key; the keys that all queries of the tile see.
struct Step {
    enum Kind : int { tile, close, end };
    int kind, first_key, all_begin, all_end;
};

template <int kHead_>
struct Shared {
    static constexpr int kHead = kHead_, kPanels = kHead / kPanel;
    static constexpr int kQueryBytes = kPanels * kQueryPanel, kKeyBytes = kPanels * kKeyPanel;
    static constexpr int kHalf = kHead / 2, kHalfFloats = kQueries * kHalf;  // of dq, a group's part

    unsigned char k[kKeyBytes], v[kKeyBytes];
    unsigned char q[kStages][kQueryBytes], dy[kStages][kQueryBytes];
    unsigned char ds[kStages][kKeyPanel];
    float dq[kStages][kGroups][kHalfFloats];
    QueryFacts facts[kStages][kQueries];
    Step steps[kStages];
    Barrier kv_full, kv_empty, full[kStages], empty[kStages], dq_full[kStages], dq_empty[kStages];
    int ticket;
};

// The work of a block of threads: heads of one key head, and one or two tiles of keys.
struct Unit {
    int part, key_head, first_head, n_heads, blocks[2], n_blocks;

    __device__ __forceinline__ Unit(const Call& call, int ticket) {
        const bool fold = call.half < call.n_blocks;
        const int n = fold ? call.n_blocks - call.half : call.n_blocks, at = ticket % n;
        part = call.first_part + ticket / n;
        key_head = part / call.n_splits;
        n_heads = call.group / call.n_splits;
        first_head = key_head * call.group + part % call.n_splits * n_heads;
        blocks[0] = fold ? call.n_blocks - 1 - at : at;
        blocks[1] = at;
        n_blocks = fold && at < call.half ? 2 : 1;
    }
};

// Calls open(block), tile(block, head, tile of queries) and close(block) in order; for all lanes of a warp together.
template <typename Open, typename Tile, typename Close>
__device__ __forceinline__ void for_each_step(const Call& call, const Unit& unit, const Open& open, const Tile& tile,
                                              const Close& close) {
#pragma unroll 1
    for (int i = 0; i < unit.n_blocks; ++i) {
        const int block = i == 0 ? unit.blocks[0] : unit.blocks[1], begin = block * kKeys, end = begin + kKeys;
        open(block);
        const int first = next_tile(call.ranges, 0, call.n_tiles, begin, end).tile;
#pragma unroll 1
        for (int head = unit.first_head; head < unit.first_head + unit.n_heads; ++head)
#pragma unroll 1
            for (int at = first; at < call.n_tiles; at = next_tile(call.ranges, at + 1, call.n_tiles, begin, end).tile)
                tile(block, head, at);
        close(block);
    }
}

// The copying warp.
template <typename S>
__device__ __forceinline__ void copy_tiles(const Call& call, const Unit& unit, S& shared, const CUtensorMap& q,
                                           const CUtensorMap& k, const CUtensorMap& v, const CUtensorMap& dy) {
    const bool leader = threadIdx.x % kWarp == 0;
    int n = 0, n_opened = 0;
    const auto load = [&](unsigned char* to, const CUtensorMap& map, Barrier* full, int panel_bytes, int head, int row) {
#pragma unroll
        for (int panel = 0; panel < S::kPanels; ++panel)
            load_panel(to + panel * panel_bytes, &map, full, panel * kPanel, head, row);
    };
    const auto announce = [&](const Step& step, int bytes) {
        const int stage = n % kStages;
        wait(&shared.empty[stage], (n / kStages & 1) ^ 1);
        shared.steps[stage] = step;
        arrive_expecting(&shared.full[stage], bytes);
        ++n;
        return stage;
    };
    for_each_step(
        call, unit,
        [&](int block) {
            if (!leader) return;
            wait(&shared.kv_empty, (n_opened++ & 1) ^ 1);
            arrive_expecting(&shared.kv_full, 2 * S::kKeyBytes);
            load(shared.k, k, &shared.kv_full, kKeyPanel, unit.key_head, block * kKeys);
            load(shared.v, v, &shared.kv_full, kKeyPanel, unit.key_head, block * kKeys);
        },
        [&](int block, int head, int tile) {
            if (!leader) return;
            const KeyRange range = call.ranges[tile];
            const int facts_bytes = kQueries * static_cast<int>(sizeof(QueryFacts));
            const int stage = announce({Step::tile, block * kKeys, range.all_begin, range.all_end},
                                       2 * S::kQueryBytes + facts_bytes);
            load(shared.q[stage], q, &shared.full[stage], kQueryPanel, head, tile * kQueries);
            load(shared.dy[stage], dy, &shared.full[stage], kQueryPanel, head, tile * kQueries);
            load_bytes(shared.facts[stage], call.facts + static_cast<int64_t>(head) * call.padded + tile * kQueries,
                       facts_bytes, &shared.full[stage]);
        },
        [&](int block) {
            if (leader) announce({Step::close, block * kKeys, 0, 0}, 0);
        });
    if (leader) announce({Step::end, 0, 0, 0}, 0);
}

__device__ __forceinline__ int read_turn(const int* at) {
    int turn;
    asm volatile("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(turn) : "l"(at) : "memory");
    return turn;
}
__device__ __forceinline__ void write_turn(int* at, int turn) {
    asm volatile("st.release.gpu.global.b32 [%0], %1;" ::"l"(at), "r"(turn) : "memory");
}

// How many blocks add to a tile of queries before this one.
__device__ __forceinline__ int n_before(const Call& call, const KeyRange& range, int block) {
    const int begin = range.any_begin / kKeys, end = ceil_div(min(range.any_end, call.n_keys), kKeys);
    return block >= call.half ? end - 1 - block : max(0, end - max(call.half, begin)) + block - begin;
}

// The adding warp.
template <typename S>
__device__ __forceinline__ void add_query_gradients(const Call& call, const Unit& unit, S& shared) {
    const bool leader = threadIdx.x % kWarp == 0;
    const int first_head = call.first_part / call.n_splits * call.group +
                           call.first_part % call.n_splits * (call.group / call.n_splits);
    int n = 0;
    for_each_step(
        call, unit, [](int) {},
        [&](int block, int head, int tile) {
            const int stage = n % kStages, parity = n / kStages & 1;
            ++n;
            if (!leader) return;
            const int before = n_before(call, call.ranges[tile], block);
            int* turn = call.turns + static_cast<int64_t>(head) * call.n_tiles + tile;
            constexpr int kFloats = kGroups * S::kHalfFloats;
            float* to = call.dq + (static_cast<int64_t>(head - first_head) * call.n_tiles + tile) * kFloats;
            wait(&shared.dq_full[stage], parity);
            if (before == 0) {
                store_bytes(to, shared.dq[stage], kFloats * 4);
            } else {
                while (read_turn(turn) != before) {}
                publish_all();
                add_floats(to, shared.dq[stage][0], kFloats * 4);
            }
            commit_stores();
            wait_stores<0>();
            arrive(&shared.dq_empty[stage]);
            publish_all();
            write_turn(turn, before + 1);
        },
        [](int) {});
}

using Scores = float[kQueries / 8][4];  // of a group's keys (rows) and a tile's queries
using Weights = uint32_t[kQueries / 16][4];

// c = a b^T, where a is a group's 64 rows of keys or values and b a tile of queries or of dy.
template <typename T, typename S>
__device__ __forceinline__ void start_scores(Scores& c, uint64_t a, uint64_t b) {
    begin_products();
#pragma unroll
    for (int step = 0; step < S::kHead / 16; ++step) {
        const int panel = step / 4, along = step % 4 * 32;
        multiply<T, false, false>(c, moved(a, panel * kKeyPanel + along), moved(b, panel * kQueryPanel + along),
                                  step > 0);
    }
    commit_products();
}

// c += a b, where b is a tile of queries or of dy.
template <typename T, int n>
__device__ __forceinline__ void start_key_gradient(float (&c)[n][4], const Weights& a, uint64_t b) {
    begin_products();
#pragma unroll
    for (int step = 0; step < kQueries / 16; ++step) multiply<T, true>(c, a[step], moved(b, step * 16 * kPanelRowBytes));
    commit_products();
}

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
__device__ __forceinline__ void weigh(Scores& s, const QueryFacts* facts, float scale, bool masked, int first_key) {
#pragma unroll
    for (int c = 0; c < kQueries / 8; ++c)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const QueryFacts& fact = facts[fragment_col(c, j)];
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                float& p = s[c][2 * r + j];
                p = exp2_approx(fmaf(p, scale, -fact.lse));
                if (masked && !fact.span.has(first_key + fragment_row(r))) p = 0;
            }
        }
}

// dp becomes ds.
__device__ __forceinline__ void differ(Scores& dp, const Scores& p, const QueryFacts* facts) {
#pragma unroll
    for (int c = 0; c < kQueries / 8; ++c)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const float delta = facts[fragment_col(c, j)].delta;
#pragma unroll
            for (int r = 0; r < 2; ++r) dp[c][2 * r + j] = p[c][2 * r + j] * (dp[c][2 * r + j] - delta);
        }
}

template <typename T>
__device__ __forceinline__ void pack(Weights& a, const Scores& s) {
#pragma unroll
    for (int step = 0; step < kQueries / 16; ++step) left_operand<T>(a[step], s, step);
}

// Address of this lane's piece 0 of 16 rows of a panel, for store_matrices, and of the two pieces of columns 16 step.
__device__ __forceinline__ uint32_t lane_row(const void* panel, int first_row) {
    return shared_address(panel) + (first_row + threadIdx.x % 16) * kPanelRowBytes;
}
__device__ __forceinline__ uint32_t lane_piece(int step) {
    const int lane = threadIdx.x % kWarp;
    return ((2 * step + lane / 16) ^ (lane & 7)) * 16;
}

// factor * c as 16-bit rows of a tile.
template <typename T, int n>
__device__ __forceinline__ void write_tile(unsigned char* tile, int row, const float (&c)[n][4], float factor) {
#pragma unroll
    for (int step = 0; step < n / 2; ++step) {
        uint32_t pair[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const float* from = &c[2 * step + e / 2][2 * (e % 2)];
            pair[e] = pack_pair<T>(from[0] * factor, from[1] * factor);
        }
        store_matrices(lane_row(tile + step / 4 * kKeyPanel, row) + lane_piece(step % 4), pair[0], pair[1], pair[2],
                       pair[3]);
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
            const int split = unit.part % call.n_splits, key = step.first_key + warp_row;
            write_partial(call, call.partials + split * n, dk, key, unit.key_head);
            write_partial(call, call.partials + (call.n_splits + split) * n, dv, key, unit.key_head);
        }
        sync_warps(1, kGroups * kWarpGroup);  // nobody reads k any more
        if (call.n_splits == 1) {
            write_tile<T>(shared.k, warp_row, dk, call.scale);
            write_tile<T>(shared.v, warp_row, dv, 1);
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
        const QueryFacts* facts = shared.facts[stage];
        const int turn = n_added % kStages;
        Scores s, dp;
        Weights a, b;
        start_scores<T, S>(s, k, operand(shared.q[stage]));
        start_scores<T, S>(dp, v, operand(shared.dy[stage]));
        wait_products<1>();
        pin(s);
        const int first_key = step.first_key + own;
        if (step.all_begin > first_key || first_key + 64 > step.all_end)
            weigh(s, facts, scale, true, step.first_key + warp_row);
        else weigh(s, facts, scale, false, 0);
        pack<T>(a, s);
        pin(a), pin(dv);
        start_key_gradient<T>(dv, a, operand(shared.dy[stage], kQueryPanel));
        wait_products<1>();
        pin(dp);
        differ(dp, s, facts);
        pack<T>(b, dp);
#pragma unroll
        for (int i = 0; i < kQueries / 16; ++i)
            store_matrices(lane_row(shared.ds[turn], warp_row) + lane_piece(i), b[i][0], b[i][1], b[i][2], b[i][3]);
        publish_shared();
        sync_warps(1, kGroups * kWarpGroup);  // also: both groups are done with the ds before this one
        float dq[S::kHalf / 8][4];
        start_query_gradient<T>(dq, operand(shared.ds[turn]), k_half);
        pin(b), pin(dk);
        start_key_gradient<T>(dk, b, operand(shared.q[stage], kQueryPanel));
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
#if GGQ_SM90A
    S& shared = *reinterpret_cast<S*>(dynamic_shared());
    if (threadIdx.x == 0) {
        shared.ticket = atomicAdd(call.ticket, 1);
        init_barrier(&shared.kv_full, 1), init_barrier(&shared.kv_empty, kGroups);
#pragma unroll
        for (int stage = 0; stage < kStages; ++stage) {
            init_barrier(&shared.full[stage], 1), init_barrier(&shared.empty[stage], kGroups * 4);
            init_barrier(&shared.dq_full[stage], kGroups * 4), init_barrier(&shared.dq_empty[stage], 1);
        }
        publish_barriers();
    }
    __syncthreads();
    const Unit unit(call, shared.ticket);
    const int group = threadIdx.x / kWarpGroup;
    if (group == kGroups) {
        leave_registers<24>();
        const int warp = threadIdx.x % kWarpGroup / kWarp;
        if (warp == 0) copy_tiles(call, unit, shared, q, k, v, dy);
        if (warp == 1) add_query_gradients(call, unit, shared);
    } else {
        take_registers<240>();
        compute<T>(call, unit, shared, dk, dv, group);
    }
#endif
}

// y = scale * dq, rounded, of one tile of queries and head a block: heads [first_head, ...). In dq a tile is
// [2][kHalf / 8][128 threads][4], as the groups of find_gradients hold it. Tiles that see no keys were never written.
template <typename T, int kHead>
__global__ void __launch_bounds__(256)
    write_query_gradient(T* y, const float* dq, const KeyRange* ranges, float scale, int n_queries, int n_heads,
                         int first_head, int n_tiles) {
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
    const int64_t n_blocks = ceil_div(shape.S, kKeys), n_parts = shape.G * plan.n_splits;
    const int heads_a_part = static_cast<int>(shape.H / n_parts);
    Call call{.facts = reinterpret_cast<const QueryFacts*>(at(plan.facts)),
              .ranges = reinterpret_cast<const KeyRange*>(at(plan.ranges)),
              .dq = reinterpret_cast<float*>(at(plan.dq)),
              .turns = reinterpret_cast<int*>(at(plan.turns)),
              .ticket = nullptr,
              .partials = reinterpret_cast<float*>(at(plan.partials)),
              .scale = args.param<AttentionParams>().scale,
              .n_keys = static_cast<int>(shape.S),
              .n_key_heads = static_cast<int>(shape.G),
              .group = static_cast<int>(shape.group),
              .n_splits = static_cast<int>(plan.n_splits),
              .padded = static_cast<int>(plan.padded_queries),
              .first_part = 0,
              .n_tiles = n_tiles,
              .n_blocks = static_cast<int>(n_blocks),
              .half = static_cast<int>(plan.fold ? n_blocks / 2 : n_blocks)};
    int* const tickets = call.turns + shape.H * n_tiles;
    GGQ_CUDA_CHECK(cudaMemsetAsync(call.turns, 0, static_cast<size_t>(shape.H * n_tiles + n_parts) * 4, ctx.stream));
    const auto panels = [&](const View& x, int rows) { return head_panels(x, rows); };
    const CUtensorMap q = panels(args.in[1], kQueries), k = panels(args.in[2], kKeys), v = panels(args.in[3], kKeys),
                      dy = panels(args.in[0], kQueries), dk = panels(args.out[1], 64), dv = panels(args.out[2], 64);
    const int64_t units_a_part = n_blocks - (plan.fold ? n_blocks / 2 : 0);
    for (int64_t part = 0; part < n_parts; part += plan.parts_a_pass) {
        const int64_t n = n_parts - part < plan.parts_a_pass ? n_parts - part : plan.parts_a_pass;
        call.first_part = static_cast<int>(part);
        call.ticket = tickets + part;
        launch(ctx, find_gradients<T, Shared<kHead>>, dim3(static_cast<unsigned>(n * units_a_part)), dim3(kThreads),
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
