// How several_rows_4bit.cu cuts its work, and how codes, scales and x come to shared memory.
#pragma once

#include "kernels/cuda/code_pairs.cuh"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product_output.cuh"
#include "kernels/cuda/product_workspace.h"
#include "kernels/cuda/several_rows_4bit.h"

namespace ggq::cuda::several_rows {

inline constexpr int kWarpRows = 16;
inline constexpr int kWindow = 8;  // blocks of a row whose 8-bit scales come at once
inline constexpr int kXStages = 3, kTableBytes = 256 * 64 * 4;

// An instance for N columns: its groups of warps that compute, beside one that brings x, and how far it goes at a time,
// so that registers are enough and what is under way fits beside the table.
template <int N_>
struct Sizes {
    static constexpr int N = N_, kGroups = N <= 16 ? 4 : 3, kWarps = 4 * kGroups, kRows = kWarps * kWarpRows;
    static constexpr int kThreads = (kGroups + 1) * hopper::kWarpGroup;
    static constexpr int kRegisters = kGroups == 4 ? 112 : 152, kXRegisters = kGroups == 4 ? 32 : 56;
    static constexpr int kUnits = N <= 32 ? 4 : 2, kStep = kUnits * kUnit, kStages = 12 / kUnits;
    static constexpr int kRowBytes = kStep / 2, kCodeBytes = kWarpRows * kRowBytes;  // of a warp's codes of a step
    static constexpr int kXBytes = kUnits * N * hopper::kPanelRowBytes;
    // A warp's scales: 8 codes and their nested scale, 16 bytes a row, or the floats of a step.
    static constexpr int kNestedSlot = kWarpRows * 16, kPlainSlot = kWarpRows * kUnits * 4;
    static constexpr int kScaleBytes = 1024, kNestedSlots = kScaleBytes / kNestedSlot,
                         kPlainSlots = kScaleBytes / kPlainSlot;
    static constexpr uint32_t kWindowSteps = kWindow / kUnits;
    static_assert(kPlainSlots > kStages);
};

template <typename S>
struct Shared {
    unsigned char table[kTableBytes];
    unsigned char x[kXStages][S::kXBytes];
    unsigned char codes[S::kWarps][S::kStages * S::kCodeBytes];
    unsigned char scales[S::kWarps][S::kScaleBytes];
    float map[256];
    hopper::Barrier full[kXStages], empty[kXStages];  // of x
};

// The work is a line of steps: all of a tile of w against a block of columns of x, then those of the next block of
// columns, then of the next tile. Blocks have equally long pieces of it. Block b's sums for tile v (tiles are counted
// with their columns) go to place b + v of `partial` f32[places,cols,rows of a tile].
struct Work {
    SeveralRows call;
    float* partial;
    int n_tiles[3];  // of each part
    int n_col_blocks;
    uint32_t n_steps;         // of a tile
    int64_t total;            // steps of all
    int64_t some_rows_bytes;  // of as many rows of codes as a warp copies a piece of at once
    bool nested;
    bool plain_output;  // outputs are sums, rounded, four side by side

    __host__ __device__ int64_t begin(int64_t block, int64_t n_blocks) const { return block * total / n_blocks; }
    // The block that has a step.
    __device__ uint32_t block_of(uint32_t step, uint32_t n_blocks) const {
        return ((step + 1) * n_blocks - 1) / static_cast<uint32_t>(total);
    }
    // The part of a tile of w; the tile becomes its number there.
    __host__ __device__ int part_of(int& tile) const {
        if (tile < n_tiles[0]) return 0;
        tile -= n_tiles[0];
        if (tile < n_tiles[1]) return 1;
        tile -= n_tiles[1];
        return 2;
    }
};

template <int bytes>
__device__ __forceinline__ void copy_few_async(void* to, const void* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared_address(to)), "l"(from), "n"(bytes)
                 : "memory");
}

// Where a block is in the line of steps.
struct Cursor {
    int tile, col_block;  // tile: of w
    uint32_t step;

    __device__ Cursor(const Work& work, int64_t at) {
        const auto v = static_cast<int>(at / work.n_steps);
        step = static_cast<uint32_t>(at % work.n_steps);
        tile = v / work.n_col_blocks;
        col_block = v % work.n_col_blocks;
    }
    // True if another tile, or block of columns, begins.
    __device__ __forceinline__ bool advance(const Work& work) {
        if (++step < work.n_steps) return false;
        step = 0;
        if (++col_block == work.n_col_blocks) col_block = 0, ++tile;
        return true;
    }
};

// Copies a warp's codes and scales, step after step. Pieces of 16 bytes of neighbouring rows stand in other banks.
template <typename S>
class Source {
public:
    __device__ Source(const Work& work, const Cursor& first, int warp, int lane)
        : at_(first),
          first_row_(warp * kWarpRows),
          lane_(lane),
          place_(lane / kPieces * S::kRowBytes + (lane % kPieces * 16 ^ turn(lane / kPieces))) {
        find(work);
    }

    // The bytes by which the places of a row's pieces are turned.
    static __device__ __forceinline__ int turn(int row) { return kPieces == 8 ? (row & 3) * 32 : (row & 2) * 16; }

    // The next step's to a place for codes; its scales to their next one, if a window begins.
    __device__ __forceinline__ void copy(const Work& work, unsigned char* codes, unsigned char* scales) {
        const uint8_t* from = codes_;
#pragma unroll
        for (int i = 0; i < kWarpRows; i += kRowsAtOnce) {
            copy_async_of_line(codes + place_ + i * S::kRowBytes, from, true);
            from += work.some_rows_bytes;
        }
        codes_ += S::kRowBytes;
        if (work.nested) copy_nested(scales);
        else copy_plain(scales);
        if (at_.advance(work)) find(work);
    }
    static constexpr int kPieces = S::kRowBytes / 16, kRowsAtOnce = kWarp / kPieces;

private:
    // Rows beyond the last are others, and nobody asks for what they make; a tile beyond the last is never copied.
    __device__ __forceinline__ void find(const Work& work) {
        int tile = at_.tile;
        const SeveralRowsPart& part = work.call.parts[work.part_of(tile)];
        const int first = min(tile * S::kRows + first_row_, part.n - kWarpRows);
        const auto row = [&](int i) { return static_cast<int64_t>(first + i) * work.call.k; };
        codes_ = part.w.codes + (row(lane_ / kPieces) / 2 + lane_ % kPieces * 16 + at_.step * S::kRowBytes);
        first_block_ = row(lane_ % kWarpRows) / kUnit;
        if (!work.nested) scales_ = part.w.scales + first_block_;
        else if (lane_ < kWarpRows) scales_ = part.w.scale_codes + first_block_;
        else scales_ = part.w.nested;
        begins_ = true;
    }
    __device__ __forceinline__ void copy_nested(unsigned char* scales) {
        if (!begins_ && at_.step % S::kWindowSteps != 0) return;
        begins_ = false;
        unsigned char* to = scales + n_windows_++ % S::kNestedSlots * S::kNestedSlot + lane_ % kWarpRows * 16;
        const uint32_t block = at_.step / S::kWindowSteps * kWindow;
        if (lane_ < kWarpRows) copy_few_async<8>(to, static_cast<const uint8_t*>(scales_) + block);
        else copy_few_async<4>(to + 8, static_cast<const float*>(scales_) + (first_block_ + block) / kNestedBlock);
    }
    __device__ __forceinline__ void copy_plain(unsigned char* scales) {
        unsigned char* to = scales + n_windows_++ % S::kPlainSlots * S::kPlainSlot + lane_ % kWarpRows * S::kUnits * 4;
        if (lane_ < kWarpRows)
            copy_few_async<S::kUnits * 4>(to, static_cast<const float*>(scales_) + at_.step * S::kUnits);
    }

    Cursor at_;
    const uint8_t* codes_;  // of this lane's first row
    const void* scales_;    // of this lane's row; the nested ones of all
    int64_t first_block_;   // of this lane's row
    int first_row_, lane_, place_;
    uint32_t n_windows_ = 0;
    bool begins_;  // a tile, or the block's work
};

// This lane's scales of a step, those of row g or g + 8 (t / 2) and units t % 2, t % 2 + 2, ...
template <typename S>
class Scales {
public:
    __device__ Scales(int g, int t) : row_(g + t / 2 * 8), unit_(t % 2) {}

    // `begins`: the block's first step.
    __device__ __forceinline__ void next(const Work& work, const unsigned char* scales, const float* map, uint32_t step,
                                         bool begins, float offset) {
        if (!work.nested) {
            const unsigned char* slot = scales + n_windows_++ % S::kPlainSlots * S::kPlainSlot;
#pragma unroll
            for (int i = 0; i < S::kUnits / 2; ++i)
                of[i] = reinterpret_cast<const float*>(slot)[row_ * S::kUnits + unit_ + 2 * i];
            return;
        }
        if (begins || step % S::kWindowSteps == 0)
            window_ = reinterpret_cast<const uint4*>(scales + n_windows_++ % S::kNestedSlots * S::kNestedSlot)[row_];
        const uint32_t at = step % S::kWindowSteps * S::kUnits + unit_;
#pragma unroll
        for (int i = 0; i < S::kUnits / 2; ++i) {
            const uint32_t code = __byte_perm(window_.x, window_.y, 0x4440u + at + 2 * i) & 255;
            of[i] = __fadd_rn(__fmul_rn(map[code], __uint_as_float(window_.z)), offset);
        }
    }
    // Of row g + 8 r, unit u.
    __device__ __forceinline__ float scale(int r, int u, int lane) const {
        return __shfl_sync(0xffffffffu, of[u / 2], (lane & ~3) | 2 * r | u % 2);
    }

private:
    float of[S::kUnits / 2];
    uint4 window_ = {};
    int row_, unit_;
    uint32_t n_windows_ = 0;
};

// A thread's share of the steps of x: the s-th fourths of some rows of 64, in the order in which lanes have codes
// (code_pairs.cuh): columns 2 t + {0,1} and 8 + 2 t + {0,1} of step s of a unit are k 16 t + 4 s + {0,1} and {2,3}.
template <typename S>
class XShare {
public:
    __device__ XShare(const Work& work, const Cursor& first)
        : at_(first),
          s_(static_cast<int>(threadIdx.x) % 4),
          row_(static_cast<int>(threadIdx.x) % hopper::kWarpGroup / 4 % S::N),
          unit_(static_cast<int>(threadIdx.x) % hopper::kWarpGroup / 4 / S::N) {
        find(work.call);
    }

    __device__ __forceinline__ void load(const Work& work) {
#pragma unroll
        for (int j = 0; j < kShares; ++j) {
            const bool inside = n_left_ > rows_on(j);
            const unsigned char* from = from_ + rows_on(j) * work.call.x_stride * 2 + units_on(j) * (kUnit * 2);
#pragma unroll
            for (int t = 0; t < 4; ++t)
                of_[j][t] = inside ? *reinterpret_cast<const uint2*>(from + t * 32) : uint2{0, 0};
        }
        from_ += S::kStep * 2;
        if (at_.advance(work)) find(work.call);
    }
    __device__ __forceinline__ void store(unsigned char* x) const {
#pragma unroll
        for (int j = 0; j < kShares; ++j) {
            unsigned char* to = x + ((unit_ + units_on(j)) * S::N + row_ + rows_on(j)) * hopper::kPanelRowBytes;
            const uint2(&v)[4] = of_[j];
            *reinterpret_cast<uint4*>(to + (2 * s_ ^ row_ % 8) * 16) = {v[0].x, v[1].x, v[2].x, v[3].x};
            *reinterpret_cast<uint4*>(to + ((2 * s_ + 1) ^ row_ % 8) * 16) = {v[0].y, v[1].y, v[2].y, v[3].y};
        }
        hopper::publish_shared();
    }

private:
    static constexpr int kRowsAtOnce = hopper::kWarpGroup / 4, kShares = S::N * S::kUnits / kRowsAtOnce;
    // Of its j-th share: how much further it is than the first.
    static __device__ constexpr int rows_on(int j) { return j * kRowsAtOnce % S::N; }
    static __device__ constexpr int units_on(int j) { return j * kRowsAtOnce / S::N; }

    __device__ __forceinline__ void find(const SeveralRows& call) {
        const int row = at_.col_block * S::N + row_;
        n_left_ = call.m - row;
        from_ = static_cast<const unsigned char*>(call.x) +
                (row * call.x_stride + at_.step * S::kStep + unit_ * kUnit + 4 * s_) * 2;
    }

    Cursor at_;
    int s_, row_, unit_, n_left_;
    const unsigned char* from_;
    uint2 of_[kShares][4];
};

}  // namespace ggq::cuda::several_rows
