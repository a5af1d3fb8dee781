// Dot products with rows of a 4-bit weight that are never written out: the form of few_rows.h where memory is the
// limit.
//
// A group is one vector of code bytes, 8 codes a lane. Shifting it by 4 j bits puts code 8 lane + (j ^ 1) of the group
// into the low bits of every lane, which is all that the table lookup reads: a shift, a lookup and a multiply-add for a
// vector of weights. x is laid out in that order once. A group's sum is multiplied by its scales at the end.
#pragma once

#include "kernels/cpu/product.h"

namespace ggq::cpu::GGQ_ISA {

inline constexpr int kGroup = 8 * kLanes<float>;

// How far ahead codes are asked for, past the end of a row into the next ones, first into L2 and shortly before their
// use into L1: the lookups leave the core too few loads in flight to cover the latency of memory. Scales come from a
// stream of their own, asked for as many rows ahead.
inline constexpr int64_t kPrefetchBytes = 4096, kNearBytes = 512;

GGQ_INLINE void prefetch_scales(const QuantParts& q, int64_t first, int64_t n) {
    if (q.scales)
        for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(q.scales + first + i);
    else
        for (int64_t i = 0; i < n; i += 64) __builtin_prefetch(q.scale_codes + first + i);
}

// Whether w[.., k] can be read in whole groups with whole blocks in each row.
template <typename T>
GGQ_INLINE bool reads_groups(const Operand& w, int64_t k) {
    if constexpr (!std::is_same_v<T, float>) return false;
    return info(w.dtype).quantized && format(w.dtype).levels && w.k_stride == 1 && k % kGroup == 0 &&
           k % w.quant.block == 0;
}

// to[k] = from[k] in the order in which groups are read.
template <typename T>
void order_by_groups(const T* from, int64_t k, T* to) {
    for (int64_t group = 0; group < k; group += kGroup)
        for (int j = 0; j < 8; ++j)
            for (int lane = 0; lane < kLanes<float>; ++lane)
                to[group + j * kLanes<float> + lane] = from[group + 8 * lane + (j ^ 1)];
}

// The scales of a group's lanes; a group may hold two blocks, one in each half.
GGQ_INLINE Vec<float> group_scales(float first, float second) {
#if defined(__AVX512F__)
    return (Vec<float>)_mm512_mask_broadcastss_ps(_mm512_set1_ps(first), 0xff00, _mm_set_ss(second));
#else
    (void)second;
    return splat(first);
#endif
}

// sums[Rows] += w x[Rows, n]^T lane by lane, for n weights from `codes` on; w's scales are of blocks of 2^shift.
template <int Rows>
void dot_groups(const uint8_t* codes, const LevelTable& levels, const float* scales, int shift, const float* x,
                int64_t x_stride, int64_t n, Vec<float>* sums, int64_t sums_stride) {
    Vec<float> sum[Rows] = {};
    for (int64_t group = 0; group < n; group += kGroup) {
        __builtin_prefetch(codes + group / 2 + kPrefetchBytes, 0, 2);
        __builtin_prefetch(codes + group / 2 + kNearBytes);
        CodeVec bytes;
        std::memcpy(&bytes, codes + group / 2, sizeof bytes);
        Vec<float> part[Rows] = {};
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) {
            const Vec<float> w = levels.at(bytes >> static_cast<uint32_t>(4 * j));
#pragma GCC unroll 4
            for (int r = 0; r < Rows; ++r)
                part[r] = madd<float>(w, load(x + r * x_stride + group + j * kLanes<float>), part[r]);
        }
        const Vec<float> scale = group_scales(scales[group >> shift], scales[(group + kGroup / 2) >> shift]);
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) sum[r] = madd<float>(part[r], scale, sum[r]);
    }
    for (int r = 0; r < Rows; ++r) sums[r * sums_stride] += sum[r];
}

// sums[m][n_cols] += x[m,k], ordered by groups, times rows col .. col + n_cols - 1 of w. k is cut so that the piece of
// four rows of x stays in L1 while every column passes.
template <int Cols>
void few_dots_4bit(const Operand& w, int64_t k, int64_t col, int64_t n_cols, const float* x, int64_t x_stride,
                   int64_t m, Vec<float>* sums) {
    constexpr int64_t kPieceElems = 16384;
    constexpr decltype(&dot_groups<1>) kDotsOfRows[] = {nullptr, dot_groups<1>, dot_groups<2>, dot_groups<3>,
                                                        dot_groups<4>};
    const int64_t piece = kPieceElems / (m < 2 ? 1 : m < 4 ? 2 : 4);
    float scales[Cols * kPieceElems / 64];
    const int shift = block_shift(w.quant);
    const LevelTable levels(format(w.dtype).levels->data(), 1.0f);
    for (int64_t begin = 0; begin < k; begin += piece) {
        const int64_t n = k - begin < piece ? k - begin : piece, n_blocks = n >> shift;
        const auto block = [&](int64_t c) { return w.offset(col + c, begin) >> shift; };
        if (n == k) restore_scales(w.quant, block(0), n_cols * n_blocks, scales);  // rows follow each other
        else
            for (int64_t c = 0; c < n_cols; ++c) restore_scales(w.quant, block(c), n_blocks, scales + c * n_blocks);
        for (int64_t c = 0; c < n_cols; ++c)
            prefetch_scales(w.quant, block(c) + (2 * kPrefetchBytes >> shift), n_blocks);
        for (int64_t r = 0; r < m; r += 4)
            for (int64_t c = 0; c < n_cols; ++c) {
                const auto dots = kDotsOfRows[m - r < 4 ? m - r : 4];
                dots(w.quant.codes + w.offset(col + c, begin) / 2, levels, scales + c * n_blocks, shift,
                     x + r * x_stride + begin, x_stride, n, sums + r * Cols + c, Cols);
            }
    }
}

}  // namespace ggq::cpu::GGQ_ISA
