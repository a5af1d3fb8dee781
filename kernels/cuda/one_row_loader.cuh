// What a block of one_row_4bit.cu takes, and how a lane's codes and scales of a pair of rows come from memory.
#pragma once

#include "kernels/cuda/code_pairs.cuh"
#include "kernels/cuda/one_row_4bit.h"

namespace ggq::cuda::one_row {

inline constexpr int kGroups = 4, kSegments = 8, kSlice = kGroups * kSegments * kUnit;  // 2048 k

// How rows make pairs: neighbours of one matrix, neighbours in one of several, or the same row of two.
enum class Pairs { of_one, of_several, of_two };

struct Place {
    int lane, g, t, slice, pair_lane, n_slices, n_pair_lanes, first_pair, last_pair;

    __device__ Place(const OneRow& p, int n_pairs, int n_warps)
        : lane(static_cast<int>(threadIdx.x) % kWarp),
          g(lane / 4),
          t(lane % 4),
          n_slices(ceil_div(p.k, kSlice)),
          n_pair_lanes(n_warps / n_slices),
          first_pair(static_cast<int>(int64_t{blockIdx.x} * n_pairs / gridDim.x)),
          last_pair(static_cast<int>(int64_t{blockIdx.x + 1} * n_pairs / gridDim.x)) {
        const int warp = static_cast<int>(threadIdx.x) / kWarp;
        slice = warp % n_slices;
        pair_lane = warp / n_slices;
    }
    __device__ int first_pair_of_warp() const { return pair_lane < n_pair_lanes ? first_pair + pair_lane : last_pair; }
    __device__ int own_group() const { return (g / 2 - t) & 3; }
};

// Scales of one level have the code 0, for which the map has 1.
struct Item {
    uint2 codes[2][kGroups] = {};
    RawScale scale[2];
};

// The matrix of a pair; the pair becomes its number there.
template <Pairs pairs>
__device__ __forceinline__ int part_of(const OneRow& p, int& pair) {
    if (pairs != Pairs::of_several || pair < p.parts[0].n_pairs) return 0;
    pair -= p.parts[0].n_pairs;
    if (pair < p.parts[1].n_pairs) return 1;
    pair -= p.parts[1].n_pairs;
    return 2;
}

// Two loads of one pair, or none: without a branch, around which instructions of other groups could not move.
__device__ __forceinline__ void load_if(bool wanted, const uint8_t* from0, const uint8_t* from1, uint2& to0,
                                        uint2& to1) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.u32 p, %6, 0;\n"
        "@p ld.global.L1::no_allocate.L2::128B.v2.u32 {%0, %1}, [%4];\n"
        "@p ld.global.L1::no_allocate.L2::128B.v2.u32 {%2, %3}, [%5];\n}"
        : "+r"(to0.x), "+r"(to0.y), "+r"(to1.x), "+r"(to1.y)
        : "l"(from0), "l"(from1), "r"(static_cast<uint32_t>(wanted)));
}

__device__ __forceinline__ void load_if(bool wanted, const float* from, float& to) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, %2, 0;\n@p ld.global.f32 %0, [%1];\n}"
                 : "+f"(to)
                 : "l"(from), "r"(static_cast<uint32_t>(wanted)));
}

__device__ __forceinline__ void load_if(bool wanted, const uint8_t* from, uint32_t& to) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, %2, 0;\n@p ld.global.u8 %0, [%1];\n}"
                 : "+r"(to)
                 : "l"(from), "r"(static_cast<uint32_t>(wanted)));
}

// What is the same for all of a lane's items. Sizes of matrices are such that 32 bits number their blocks of 64. Where
// k ends within the slice nothing is loaded: x is zero there.
struct Loader {
    uint32_t row_bytes, row_units, own_unit, code_at;  // of the slice and the lane in a row
    int shift;                                         // from units of 64 to blocks
    bool nested;                                       // scales are in two levels

    __device__ Loader(const OneRow& p, const Place& at, int block_shift)
        : row_bytes(static_cast<uint32_t>(p.k) / 2),
          row_units(static_cast<uint32_t>(p.k) / kUnit),
          own_unit(static_cast<uint32_t>((at.slice * kGroups + at.own_group()) * kSegments + at.g)),
          code_at(static_cast<uint32_t>(at.slice * (kSlice / 2) + at.lane * 8)),
          shift(block_shift - 6),
          nested(p.parts[0].w.scales == nullptr) {}

    // Where a pair is; its rows are of the matrices w.
    struct Source {
        const uint8_t* from[2];
        const QuantParts* w[2];
        uint32_t row[2];
        bool there;
    };

    template <Pairs pairs>
    __device__ __forceinline__ Source find(const OneRow& p, int pair, bool there) const {
        const int part = part_of<pairs>(p, pair);
        const auto row = static_cast<uint32_t>(pairs == Pairs::of_two ? pair : 2 * pair);
        Source s;
        s.there = there;
        s.w[0] = &p.parts[part].w;
        s.w[1] = pairs == Pairs::of_two ? &p.parts[1].w : s.w[0];
        s.row[0] = row;
        s.row[1] = pairs == Pairs::of_two ? row : row + 1;
#pragma unroll
        for (int i = 0; i < 2; ++i) s.from[i] = s.w[i]->codes + code_at + static_cast<uint64_t>(s.row[i]) * row_bytes;
        return s;
    }

    __device__ __forceinline__ void load_codes(const Source& s, int q, Item& item) const {
        load_if(s.there && code_at + q * 256 < row_bytes, s.from[0] + q * 256, s.from[1] + q * 256, item.codes[0][q],
                item.codes[1][q]);
    }

    __device__ __forceinline__ void load_scales(const Source& s, Item& item) const {
        const bool wanted = s.there && own_unit < row_units;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const uint32_t block = (s.row[i] * row_units + own_unit) >> shift;
            const float* factors = nested ? s.w[i]->nested : s.w[i]->scales;
            load_if(wanted, factors + (nested ? block / kNestedBlock : block), item.scale[i].nested);
            load_if(wanted && nested, s.w[i]->scale_codes + block, item.scale[i].code);
        }
    }
};

}  // namespace ggq::cuda::one_row
