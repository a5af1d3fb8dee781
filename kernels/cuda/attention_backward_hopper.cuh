// How the gradient of attention on Hopper (attention_backward_hopper.cu) is cut, and the warps that copy: those that
// bring tiles, and those that add a tile's share of dq to the others' in memory.
#pragma once

#include "kernels/cuda/attention_hopper.cuh"
#include "kernels/cuda/attention_order.h"
#include "kernels/cuda/attention_workspace.h"

namespace ggq::cuda::hopper {

inline constexpr int kKeys = static_cast<int>(kHopperKeys), kQueries = static_cast<int>(kGradientTile), kStages = 2;
inline constexpr int kGroups = 2, kThreads = kWarpGroup * (kGroups + 1);
inline constexpr int kQueryPanel = kQueries * kPanelRowBytes, kKeyPanel = kKeys * kPanelRowBytes;

struct Call {
    const TileFacts* facts;  // [H,tiles of queries]
    const KeyRange* ranges;  // of tiles of queries
    float* dq;               // of this call's heads, as write_query_gradient reads it
    int *turns, *ticket;     // turns[H,tiles of queries]; numbers that blocks take
    const int* half;         // see attention_order.h
    float* partials;         // dk[n_splits,S,G,D], then dv
    float scale;
    int n_keys, n_key_heads, group, n_splits;
    int first_part, n_parts, n_tiles, n_key_tiles;  // parts are splits of key heads
};

// What passes from the copying warp to the groups beside tiles: whether there is a tile, or those of a key tile are
// done, or all; the first key; the keys that all queries of the tile see.
struct Step {
    enum Kind : int { tile, close, end };
    int kind, first_key, all_begin, all_end;
};

// The work of a block of threads: heads of one key head, and one or two tiles of keys.
struct Unit {
    int key_head, split, first_head, n_heads;
    KeyTiles keys;
};

__device__ __forceinline__ Unit find_unit(const Call& call, int number, int half) {
    const PartUnit at = unit_of(number, call.n_parts, call.n_key_tiles, half);
    const int part = call.first_part + at.part, n_heads = call.group / call.n_splits;
    const int key_head = part / call.n_splits, split = part % call.n_splits;
    KeyTiles keys = key_tiles_of(at.unit, call.n_key_tiles, half);
    if (at.part >= call.n_parts) keys.n = 0;
    return {key_head, split, key_head * call.group + split * n_heads, n_heads, keys};
}

template <int kHead_>
struct Shared {
    static constexpr int kHead = kHead_, kPanels = kHead / kPanel;
    static constexpr int kQueryBytes = kPanels * kQueryPanel, kKeyBytes = kPanels * kKeyPanel;
    static constexpr int kHalf = kHead / 2, kHalfFloats = kQueries * kHalf;  // of dq, a group's part

    unsigned char k[kKeyBytes], v[kKeyBytes];
    unsigned char q[kStages][kQueryBytes], dy[kStages][kQueryBytes];
    unsigned char ds[kStages][kKeyPanel];
    float dq[kStages][kGroups][kHalfFloats];
    TileFacts facts[kStages];
    Step steps[kStages];
    Barrier kv_full, kv_empty, full[kStages], empty[kStages], dq_full[kStages], dq_empty[kStages];
    Unit unit;
    int half;
};

// Calls open(key tile), tile(key tile, head, tile of queries) and close(key tile) in order; for all lanes of a warp
// together.
template <typename Open, typename Tile, typename Close>
__device__ __forceinline__ void for_each_step(const Call& call, const Unit& unit, const Open& open, const Tile& tile,
                                              const Close& close) {
#pragma unroll 1
    for (int i = 0; i < unit.keys.n; ++i) {
        const int key_tile = unit.keys.tiles[i], begin = key_tile * kKeys, end = begin + kKeys;
        open(key_tile);
        const int first = next_tile(call.ranges, 0, call.n_tiles, begin, end).tile;
#pragma unroll 1
        for (int head = unit.first_head; head < unit.first_head + unit.n_heads; ++head)
#pragma unroll 1
            for (int at = first; at < call.n_tiles; at = next_tile(call.ranges, at + 1, call.n_tiles, begin, end).tile)
                tile(key_tile, head, at);
        close(key_tile);
    }
}

// The copying warp.
template <typename S>
__device__ __forceinline__ void copy_tiles(const Call& call, const Unit& unit, S& shared, const CUtensorMap& q,
                                           const CUtensorMap& k, const CUtensorMap& v, const CUtensorMap& dy) {
    const bool leader = threadIdx.x % kWarp == 0;
    int n = 0, n_opened = 0;
    const auto load = [&](unsigned char* to, const CUtensorMap& map, Barrier* full, int panel_bytes, int head,
                          int row) {
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
        [&](int key_tile) {
            if (!leader) return;
            wait(&shared.kv_empty, (n_opened++ & 1) ^ 1);
            arrive_expecting(&shared.kv_full, 2 * S::kKeyBytes);
            load(shared.k, k, &shared.kv_full, kKeyPanel, unit.key_head, key_tile * kKeys);
            load(shared.v, v, &shared.kv_full, kKeyPanel, unit.key_head, key_tile * kKeys);
        },
        [&](int key_tile, int head, int tile) {
            if (!leader) return;
            const KeyRange range = call.ranges[tile];
            const int stage = announce({Step::tile, key_tile * kKeys, range.all_begin, range.all_end},
                                       2 * S::kQueryBytes + static_cast<int>(sizeof(TileFacts)));
            load(shared.q[stage], q, &shared.full[stage], kQueryPanel, head, tile * kQueries);
            load(shared.dy[stage], dy, &shared.full[stage], kQueryPanel, head, tile * kQueries);
            load_bytes(&shared.facts[stage], call.facts + static_cast<int64_t>(head) * call.n_tiles + tile,
                       sizeof(TileFacts), &shared.full[stage]);
        },
        [&](int key_tile) {
            if (leader) announce({Step::close, key_tile * kKeys, 0, 0}, 0);
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

// An adding warp, one a stage: from a turn to the next one's takes longer than a tile.
template <typename S>
__device__ __forceinline__ void add_query_gradients(const Call& call, const Unit& unit, S& shared, int stage) {
    const bool leader = threadIdx.x % kWarp == 0;
    const int first_head =
        call.first_part / call.n_splits * call.group + call.first_part % call.n_splits * (call.group / call.n_splits);
    int n = 0;
    for_each_step(
        call, unit, [](int) {},
        [&](int key_tile, int head, int tile) {
            const int parity = n / kStages & 1;
            if (n++ % kStages != stage || !leader) return;
            const KeyRange range = call.ranges[tile];
            const int end = ceil_div(min(range.any_end, call.n_keys), kKeys);
            const int before = n_before(key_tile, range.any_begin / kKeys, end, shared.half);
            int* turn = call.turns + static_cast<int64_t>(head) * call.n_tiles + tile;
            constexpr int kFloats = kGroups * S::kHalfFloats;
            float* to = call.dq + (static_cast<int64_t>(head - first_head) * call.n_tiles + tile) * kFloats;
            wait(&shared.dq_full[stage], parity);
            if (before == 0) {
                store_bytes(to, shared.dq[stage], kFloats * 4);
            } else {
                while (read_turn(turn) != before) {
                }
                publish_global();
                add_floats(to, shared.dq[stage][0], kFloats * 4);
            }
            commit_stores();
            wait_stores_read<0>();
            arrive(&shared.dq_empty[stage]);
            wait_stores<0>();
            write_turn(turn, before + 1);
        },
        [](int) {});
}

}  // namespace ggq::cuda::hopper
