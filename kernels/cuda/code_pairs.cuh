// 4-bit weights as the left factor of tensor cores. A byte of codes is two weights side by side along k, which is just
// what a register of a fragment holds; so a table with an entry for each byte turns a byte into a register by one read
// of shared memory. The table is there once for each lane, in that lane's bank: reads never collide.
//
// Which k a register stands for is free as long as both factors agree. Lane (g, t) = (lane / 4, lane % 4) takes 16
// consecutive weights of rows g and g + 8 from each unit of 64 (8 bytes of a row; the four lanes of a row read 32):
//     k of (t, step s, register pair p) = 16 t + 4 s + 2 p + {0, 1},  s = 0..3,  p = 0 or 1 (b0 or b1)
// so that it needs 16 consecutive elements of x, two reads of 16 bytes. The entries are levels rounded to T; a block's
// scale multiplies the float sums over a unit, which never straddles blocks.
#pragma once

#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/ptx.cuh"

namespace ggq::cuda {

inline constexpr int kUnit = 64;  // weights of a row whose sum is scaled at once
inline constexpr int kPairTableBytes = 256 * 32 * 4;

// All threads of the block fill the table together; the caller synchronises.
template <typename T>
__device__ __forceinline__ void fill_pair_table(uint32_t* table, DType dtype) {
    for (int i = static_cast<int>(threadIdx.x); i < 256 * 8; i += static_cast<int>(blockDim.x)) {
        const uint32_t pair = pack_pair<T>(level(dtype, i / 8 >> 4), level(dtype, i / 8 & 15));
        reinterpret_cast<uint4*>(table)[i] = {pair, pair, pair, pair};
    }
}

// The two weights of byte `byte` (a constant) of a word of codes; `lane_bytes` is 4 * lane.
__device__ __forceinline__ uint32_t pair_at(const uint32_t* table, uint32_t lane_bytes, uint32_t word, int byte) {
    const uint32_t entry = (byte == 0 ? word << 7 : word >> (8 * byte - 7)) & 0x7f80u;
    return *reinterpret_cast<const uint32_t*>(reinterpret_cast<const char*>(table) + (entry | lane_bytes));
}

// The four left fragments of a unit from the codes of rows g and g + 8.
__device__ __forceinline__ void unit_fragments(const uint32_t* table, uint32_t lane_bytes, const uint2 (&codes)[2],
                                               uint32_t (&a)[4][4]) {
#pragma unroll
    for (int step = 0; step < 4; ++step)
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            const uint32_t word = step < 2 ? codes[row].x : codes[row].y;
            a[step][row] = pair_at(table, lane_bytes, word, 2 * (step % 2));
            a[step][row + 2] = pair_at(table, lane_bytes, word, 2 * (step % 2) + 1);
        }
}

// c[16 rows of w, 8 rows of x] = unit of w times x, where x holds this lane's 16 elements of row g of x.
template <typename T>
__device__ __forceinline__ void multiply_unit(float (&c)[4], const uint32_t (&a)[4][4], const uint4 (&x)[2]) {
    c[0] = c[1] = c[2] = c[3] = 0;
    multiply_add<T>(c, a[0], x[0].x, x[0].y);
    multiply_add<T>(c, a[1], x[0].z, x[0].w);
    multiply_add<T>(c, a[2], x[1].x, x[1].y);
    multiply_add<T>(c, a[3], x[1].z, x[1].w);
}

// The parts of a scale, loaded ahead of their use.
struct RawScale {
    float nested = 0;   // or the scale itself
    uint32_t code = 0;  // under double quantization
};

__device__ __forceinline__ RawScale raw_scale(const QuantParts& q, int64_t block) {
    if (q.scales != nullptr) return {q.scales[block], 0};
    return {q.nested[block / kNestedBlock], q.scale_codes[block]};
}

// `map` is kSignedMap in shared memory; `offset` is unused without double quantization.
__device__ __forceinline__ float restored(const QuantParts& q, const RawScale& raw, const float* map, float offset) {
    return q.scales != nullptr ? raw.nested : __fadd_rn(__fmul_rn(map[raw.code], raw.nested), offset);
}

__device__ __forceinline__ float scale_offset(const QuantParts& q) { return q.offset != nullptr ? *q.offset : 0.0f; }

}  // namespace ggq::cuda
