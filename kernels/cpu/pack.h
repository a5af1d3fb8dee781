// Packing: a block [rows, k] of an operand becomes panels of R rows, each panel [k][R], so that the register tile reads
// both factors as one stream. Rows beyond the operand are zero. Conversion, decoding and dropout happen here, once.
#pragma once

#include "kernels/cpu/operand.h"
#include "kernels/cpu/workspace.h"
#include "kernels/rounding.h"

namespace ggq::cpu::GGQ_ISA {

#if defined(__AVX2__)
// dst[j * dst_stride + i] = src[i * src_stride + j] for i < n_rows <= 8, j < 8; all 8 rows of src are readable.
GGQ_INLINE void transpose_8x8(const float* src, int64_t src_stride, float* dst, int64_t dst_stride, int n_rows) {
    __m256 r[8], t[8];
    for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(src + i * src_stride);
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    if (n_rows == 8) {
        for (int j = 0; j < 8; ++j) _mm256_storeu_ps(dst + j * dst_stride, t[j]);
        return;
    }
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i kept = _mm256_cmpgt_epi32(_mm256_set1_epi32(n_rows), lane);
    for (int j = 0; j < 8; ++j) _mm256_maskstore_ps(dst + j * dst_stride, kept, t[j]);
}
#endif

inline constexpr int kPackRun = 128;  // elements of k that are read from a row at a time

// dst[j][R] = the column j of rows[.., kPackRun] for j < n_cols
template <int R, typename T>
inline void transpose_rows(const T* rows, int64_t n_cols, T* dst) {
    int64_t done = 0;
#if defined(__AVX2__)
    if constexpr (std::is_same_v<T, float>) {
        for (; done + 8 <= n_cols; done += 8)
            for (int i = 0; i < R; i += 8)
                transpose_8x8(rows + i * kPackRun + done, kPackRun, dst + done * R + i, R, R - i < 8 ? R - i : 8);
    }
#endif
    for (int64_t j = done; j < n_cols; ++j)
        for (int i = 0; i < R; ++i) dst[j * R + i] = rows[i * kPackRun + j];
}

// One panel, read along k.
template <int R, typename T>
inline void pack_along(const Operand& o, int64_t row, int64_t n_rows, int64_t k0, int64_t nk, T* dst) {
    constexpr int kRows = round_up(R, 8);
    alignas(64) T rows[kRows * kPackRun];
    std::memset(rows + n_rows * kPackRun, 0, static_cast<size_t>(kRows - n_rows) * kPackRun * sizeof(T));
    for (int64_t k = 0; k < nk; k += kPackRun) {
        const int64_t n_cols = nk - k < kPackRun ? nk - k : kPackRun;
        for (int64_t i = 0; i < n_rows; ++i)
            load_run(o, o.offset(row + i, k0 + k), o.k_stride, n_cols, rows + i * kPackRun);
        transpose_rows<R>(rows, n_cols, dst + k * R);
    }
}

// All panels of at most kColBlock rows, where the operand is contiguous across rows.
template <int R, typename T>
inline void pack_across(const Operand& o, int64_t row, int64_t n_rows, int64_t k0, int64_t nk, int64_t panel_stride,
                        T* dst) {
    constexpr int64_t kAhead = 16;
    T run[kColBlock + R] = {};
    for (int64_t k = 0; k < nk; ++k) {
        prefetch_run(o, o.offset(row, k0 + k + kAhead), n_rows);
        load_run(o, o.offset(row, k0 + k), 1, n_rows, run);
        for (int64_t i = 0; i < n_rows; i += R) std::memcpy(dst + i / R * panel_stride + k * R, run + i, R * sizeof(T));
    }
}

// Rows row .. row + n_rows - 1 (at most kColBlock) and k0 .. k0 + nk - 1 into panels `panel_stride` elements apart.
template <int R, typename T>
inline void pack_panels(const Operand& o, int64_t row, int64_t n_rows, int64_t k0, int64_t nk, int64_t panel_stride,
                        T* dst) {
    if (o.row_stride == 1 && o.k_stride != 1) return pack_across<R>(o, row, n_rows, k0, nk, panel_stride, dst);
    for (int64_t i = 0; i < n_rows; i += R) {
        for (int64_t ahead = i == 0 ? 0 : i + R; ahead < i + 2 * R && ahead < n_rows; ++ahead)
            prefetch_run(o, o.offset(row + ahead, k0), nk);
        pack_along<R>(o, row + i, n_rows - i < R ? n_rows - i : R, k0, nk, dst + i / R * panel_stride);
    }
}

}  // namespace ggq::cpu::GGQ_ISA
