// The kernel behind product_hopper.h. Blocks stay and take one tile of y after the other. One warp has panels of x and
// w copied, some steps of 64 along k ahead; two groups of four warps multiply, 64 rows of y each, all kCols columns.
// Blocks of a cluster take tiles below each other: each copies its part of w's panel to all, which is a third less to
// read from L2 for two blocks of wide tiles.
//
// A tile begins as its low-rank update, times the scale; `sum` comes behind its last step, through the same stages, and
// is added to the sums in registers. Results are stored from shared memory while the next tile is begun.
#pragma once

#include "kernels/cuda/hopper_products.cuh"

namespace ggq::cuda::hopper {

inline constexpr int kGroups = 2, kGroupRows = 64, kTileRows = kGroups * kGroupRows;
inline constexpr int kProductThreads = kWarpGroup * (kGroups + 1);

inline constexpr int kGroupPanel = kGroupRows * kPanelRowBytes, kTilePanel = kGroups * kGroupPanel;
inline constexpr int kRoom = 2;  // panels of `sum` that are copied at a time, and of a group's results that are stored

// An instance: tiles of kCols columns, kCluster blocks that work together.
template <typename T_, int kCols_, int kStages_, int kCluster_>
struct Tiling {
    using T = T_;
    static constexpr int kCols = kCols_, kStages = kStages_, kCluster = kCluster_, kPanels = kCols / kPanel;
    static constexpr int kPart = kCols / kCluster;  // rows of w that a block copies
    static_assert(kPanels % kRoom == 0);

    struct Stage {
        unsigned char x[kTilePanel];
        unsigned char w[kCols * kPanelRowBytes];
    };
    struct Shared {
        Stage stages[kStages];
        unsigned char y[kGroups][kRoom][kGroupPanel];
        Barrier full[kStages], empty[kStages];
    };
};

struct ProductMaps {
    CUtensorMap x, w, u, v, sum, y;  // u v^T is the update
};

struct ProductCall {
    int steps = 0;        // of 64 along k
    bool narrow = false;  // a rank of 16 at most
    float scale = 1;      // of the update
    bool with_sum = false;
    int row_tiles = 0, col_tiles = 0;  // a row tile is that of a cluster
    int band = 1;                      // row tiles that are taken together, so that w is read from L2
};

// Where a ring of stages stands.
template <int n>
struct Position {
    int stage = 0, phase = 0;
    __device__ __forceinline__ void advance() {
        if (++stage == n) stage = 0, phase ^= 1;
    }
};

struct Tile {
    int row, col;
};

// The tiles of a band go column by column.
template <typename S>
__device__ __forceinline__ Tile tile_at(const ProductCall& call, int index) {
    const int band_tiles = call.band * call.col_tiles, band = index / band_tiles, at = index % band_tiles;
    const int height = min(call.band, call.row_tiles - band * call.band);
    return {(band * call.band + at % height) * S::kCluster * kTileRows, at / height * S::kCols};
}

// ---- the copying thread

// Of step `step` the panel of x and this block's part of that of w.
template <typename S>
__device__ __forceinline__ void copy_step(typename S::Shared& shared, Position<S::kStages>& at, const CUtensorMap& x,
                                          const CUtensorMap& w, int row, int col, int step, int block) {
    wait(&shared.empty[at.stage], at.phase ^ 1);
    Barrier* full = &shared.full[at.stage];
    typename S::Stage& stage = shared.stages[at.stage];
    arrive_expecting(full, sizeof(stage));
    load_panel(stage.x, &x, full, step * kPanel, row);
    const int first = block * S::kPart;
    load_panel_for<S::kCluster>(stage.w + first * kPanelRowBytes, &w, full, step * kPanel, col + first);
    at.advance();
}

// Panels of `sum`, by themselves in a stage.
template <typename S>
__device__ __forceinline__ void copy_sum(typename S::Shared& shared, Position<S::kStages>& at, const CUtensorMap& sum,
                                         int row, int col) {
    wait(&shared.empty[at.stage], at.phase ^ 1);
    arrive_expecting(&shared.full[at.stage], kRoom * kTilePanel);
#pragma unroll
    for (int i = 0; i < kRoom; ++i)
        load_panel(shared.stages[at.stage].x + i * kTilePanel, &sum, &shared.full[at.stage], col + i * kPanel, row);
    at.advance();
}

template <typename S>
__device__ __forceinline__ void copy_tiles(const ProductCall& call, const ProductMaps& maps, typename S::Shared& shared,
                                           int first, int stride, int block) {
    Position<S::kStages> at;
#pragma unroll 1
    for (int index = first; index < call.row_tiles * call.col_tiles; index += stride) {
        const Tile tile = tile_at<S>(call, index);
        const int row = tile.row + block * kTileRows;
        copy_step<S>(shared, at, maps.u, maps.v, row, tile.col, 0, block);
#pragma unroll 1
        for (int step = 0; step < call.steps; ++step)
            copy_step<S>(shared, at, maps.x, maps.w, row, tile.col, step, block);
        if (call.with_sum)
#pragma unroll 1
            for (int col = 0; col < S::kCols; col += kRoom * kPanel)
                copy_sum<S>(shared, at, maps.sum, row, tile.col + col);
    }
}

// ---- a multiplying group

template <typename S>
struct Multiplier {
    using Sums = float[S::kCols / 8][4];

    const ProductCall& call;
    const ProductMaps& maps;
    typename S::Shared& shared;
    int group;
    Position<S::kStages> at = {};

    __device__ __forceinline__ bool speaks() const { return threadIdx.x % kWarpGroup == 0; }
    __device__ __forceinline__ void sync() const { sync_warps(1 + group, kWarpGroup); }

    // c (+)= the first 16 n columns of this stage.
    template <int n>
    __device__ __forceinline__ void start(Sums& c, bool keep) const {
        const typename S::Stage& stage = shared.stages[at.stage];
        const uint64_t x = operand(stage.x + group * kGroupPanel), w = operand(stage.w);
        begin_products();
#pragma unroll
        for (int i = 0; i < n; ++i)
            multiply<typename S::T, false, false>(c, moved(x, 32 * i), moved(w, 32 * i), keep || i > 0);
        commit_products();
    }

    // This warp is done with a stage, which all blocks of the cluster copy into.
    __device__ __forceinline__ void release(int stage) const {
        if (threadIdx.x % kWarp < S::kCluster) arrive_at(&shared.empty[stage], threadIdx.x % kWarp);
    }

    __device__ __forceinline__ void start_update(Sums& c) const {
        wait(&shared.full[at.stage], at.phase);
        if (call.narrow) start<1>(c, false);
        else start<4>(c, false);
    }

    // Of the update, before anything else is added to it.
    __device__ __forceinline__ void scale(Sums& c) const {
        wait_products<0>();
        pin(c);
#pragma unroll
        for (int i = 0; i < S::kCols / 8; ++i)
#pragma unroll
            for (int e = 0; e < 4; ++e) c[i][e] *= call.scale;
        pin(c);
    }

    // Adds to c two panels of `sum`, whose first columns are [8 first, ...).
    __device__ __forceinline__ void add_sum(Sums& c, int first) {
        wait(&shared.full[at.stage], at.phase);
        const unsigned char* panels = shared.stages[at.stage].x + group * kGroupPanel;
#pragma unroll
        for (int step = 0; step < 4 * kRoom; ++step) {
            uint32_t pairs[4];
            load_matrices(pairs, place(panels + step / 4 * kTilePanel, step % 4));
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const float2 old = unpack_pair<typename S::T>(pairs[e]);
                c[first + 2 * step + e / 2][2 * (e % 2)] += old.x;
                c[first + 2 * step + e / 2][2 * (e % 2) + 1] += old.y;
            }
        }
        publish_shared();
        __syncwarp();
        release(at.stage);
        at.advance();
    }

    // Where this lane's row of columns [16 step, ...) of a panel stands.
    static __device__ __forceinline__ uint32_t place(const unsigned char* panel, int step) {
        const int lane = threadIdx.x % kWarp, row = threadIdx.x % kWarpGroup / kWarp * 16 + lane % 16;
        const int piece = (2 * step + lane / 16) ^ (lane & 7);
        return shared_address(panel) + row * kPanelRowBytes + piece * 16;
    }

    __device__ __forceinline__ void store_matrix(const Sums& c, int step) const {
        uint32_t out[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const float* from = &c[2 * step + e / 2][2 * (e % 2)];
            out[e] = pack_pair<typename S::T>(from[0], from[1]);
        }
        store_matrices(place(shared.y[group][step / 4 % kRoom], step % 4), out[0], out[1], out[2], out[3]);
    }

    __device__ __forceinline__ void write(Sums& c, int row, int col) {
#pragma unroll
        for (int panel = 0; panel < S::kPanels; panel += kRoom) {
            if (call.with_sum)
#pragma unroll
                for (int i = panel; i < panel + kRoom; i += kRoom) add_sum(c, 8 * i);
            if (speaks()) wait_stores_read<0>();
            __syncwarp();
            sync();
#pragma unroll
            for (int step = 4 * panel; step < 4 * (panel + kRoom); ++step) store_matrix(c, step);
            publish_shared();
            sync();
            if (speaks()) {
#pragma unroll
                for (int i = 0; i < kRoom; ++i)
                    store_panel(&maps.y, shared.y[group][i], col + (panel + i) * kPanel, row);
                commit_stores();
            }
            __syncwarp();
        }
    }

    // Rows [row, row + 64), columns [col, col + kCols).
    __device__ __forceinline__ void make(int row, int col) {
        Sums c;
        start_update(c);
        int last = at.stage;
        at.advance();
        if (call.scale != 1) scale(c);
#pragma unroll 1
        for (int step = 0; step < call.steps; ++step) {
            wait(&shared.full[at.stage], at.phase);
            start<4>(c, true);
            wait_products<1>();
            release(last);
            last = at.stage;
            at.advance();
        }
        wait_products<0>();
        pin(c);
        release(last);
        write(c, row, col);
    }

    __device__ __forceinline__ void make_tiles(int first, int stride, int block) {
#pragma unroll 1
        for (int index = first; index < call.row_tiles * call.col_tiles; index += stride) {
            const Tile tile = tile_at<S>(call, index);
            make(tile.row + block * kTileRows + group * kGroupRows, tile.col);
        }
        if (speaks()) wait_stores<0>();
        __syncwarp();
    }
};

template <typename S>
__global__ void __launch_bounds__(kProductThreads, 1)
    multiply_tiles(const __grid_constant__ ProductCall call, const __grid_constant__ ProductMaps maps) {
    if constexpr (kSm90a) {
        auto& shared = *reinterpret_cast<typename S::Shared*>(dynamic_shared());
        const int group = static_cast<int>(threadIdx.x / kWarpGroup);
        const int block = S::kCluster > 1 ? static_cast<int>(block_of_cluster()) : 0;
        const int first = blockIdx.x / S::kCluster, stride = gridDim.x / S::kCluster;
        if (threadIdx.x == 0) {
#pragma unroll
            for (int stage = 0; stage < S::kStages; ++stage) {
                init_barrier(&shared.full[stage], 1);
                init_barrier(&shared.empty[stage], kGroups * 4 * S::kCluster);
            }
            publish_barriers();
        }
        __syncthreads();
        if constexpr (S::kCluster > 1) cluster_barrier();
        if (group == kGroups) {
            leave_registers<40>();
            if (threadIdx.x % kWarpGroup == 0) copy_tiles<S>(call, maps, shared, first, stride, block);
            __syncwarp();
        } else {
            take_registers<232>();
            Multiplier<S>{call, maps, shared, group}.make_tiles(first, stride, block);
        }
        if constexpr (S::kCluster > 1) cluster_barrier();  // others may still copy and arrive here
    }
}

}  // namespace ggq::cuda::hopper
