// Packing: a block [rows, k] of an operand becomes panels of R rows, each panel [k][R], so that the register tile reads
// both factors as one stream. Rows beyond the operand are zero. Conversion, decoding and dropout happen here, once.
#pragma once

#include "kernels/cpu/operand.h"
#include "kernels/cpu/workspace.h"
#include "kernels/rounding.h"

namespace ggq::cpu::GGQ_ISA {

#if defined(__AVX2__)
// dst[j * dst_stride + i] = src[i * src_stride + j] for i < Rows, j < 8, where Rows is 6 or 8. Six are stored as eight,
// whose last two the next j, or whoever fills the rest of the panel, replaces: masked stores are slow. At the end of a
// panel they are not stored.
template <int Rows>
GGQ_INLINE void transpose_8x8(const float* src, int64_t src_stride, float* dst, int64_t dst_stride, bool at_end) {
    static_assert(Rows == 6 || Rows == 8);
    __m256 r[8], t[8];
    for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(src + (i < Rows ? i : Rows - 1) * src_stride);
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
    for (int j = 0; j < 7; ++j) _mm256_storeu_ps(dst + j * dst_stride, t[j]);
    if (Rows == 8 || !at_end) return _mm256_storeu_ps(dst + 7 * dst_stride, t[7]);
    _mm_storeu_ps(dst + 7 * dst_stride, _mm256_castps256_ps128(t[7]));
    _mm_storel_pi(reinterpret_cast<__m64*>(dst + 7 * dst_stride + 4), _mm256_extractf128_ps(t[7], 1));
}
#endif

inline constexpr int kPackRun = 128;  // elements of k that are read from a row at a time

// dst[j][R] = the column j of R rows for j < n_cols, and nothing behind them.
template <int R, typename T>
inline void transpose_rows(const T* rows, int64_t row_stride, int64_t n_cols, T* dst) {
    int64_t done = 0;
#if defined(__AVX2__)
    if constexpr (std::is_same_v<T, float>) {
        constexpr int kWhole = R / 8 * 8;
        for (; done + 8 <= n_cols; done += 8) {
            if constexpr (kWhole < R)  // first, for it spills into the next column's first rows
                transpose_8x8<R - kWhole>(rows + kWhole * row_stride + done, row_stride, dst + done * R + kWhole, R,
                                          done + 8 == n_cols);
            for (int i = 0; i < kWhole; i += 8)
                transpose_8x8<8>(rows + i * row_stride + done, row_stride, dst + done * R + i, R, false);
        }
    }
#endif
    for (int64_t j = done; j < n_cols; ++j)
        for (int i = 0; i < R; ++i) dst[j * R + i] = rows[i * row_stride + j];
}

// Where its elements lie as T, one after the other along k or across rows, and nothing is to be done to them.
template <typename T>
GGQ_INLINE const T* plain_data(const Operand& o) {
    const DType real = std::is_same_v<T, double> ? DType::f64 : DType::f32;
    return o.dtype == real && !o.mask ? static_cast<const T*>(o.data) : nullptr;
}

// One panel, read along k. Of the n_behind rows behind it as many are asked for as are read, one by one: more at a time
// than the core has loads in flight would be waited for.
template <int R, typename T>
inline void pack_along(const Operand& o, int64_t row, int64_t n_rows, int64_t n_behind, int64_t k0, int64_t nk,
                       T* dst) {
    const T* plain = o.k_stride == 1 && n_rows == R ? plain_data<T>(o) : nullptr;
    if (plain) return transpose_rows<R>(plain + o.offset(row, k0), o.row_stride, nk, dst);
    alignas(64) T rows[R * kPackRun];
    std::memset(rows + n_rows * kPackRun, 0, static_cast<size_t>(R - n_rows) * kPackRun * sizeof(T));
    for (int64_t k = 0; k < nk; k += kPackRun) {
        const int64_t n_cols = nk - k < kPackRun ? nk - k : kPackRun;
        for (int64_t i = 0; i < n_rows; ++i) {
            if (i < n_behind) prefetch_run(o, o.offset(row + R + i, k0 + k), n_cols);
            load_run(o, o.offset(row + i, k0 + k), o.k_stride, n_cols, rows + i * kPackRun);
        }
        transpose_rows<R>(rows, kPackRun, n_cols, dst + k * R);
    }
}

// to[R] = from[R]
template <int R, typename T>
GGQ_INLINE void copy_row(const T* from, T* to) {
    if constexpr (R % kLanes<T> == 0)
        for (int i = 0; i < R; i += kLanes<T>) store<T>(to + i, load(from + i));
    else std::memcpy(to, from, R * sizeof(T));
}

// All panels of at most kColBlock rows, where the operand is contiguous across rows.
template <int R, typename T>
inline void pack_across(const Operand& o, int64_t row, int64_t n_rows, int64_t k0, int64_t nk, int64_t panel_stride,
                        T* dst) {
    constexpr int64_t kAhead = 16;
    const T* plain = n_rows % R == 0 ? plain_data<T>(o) : nullptr;
    T run[kColBlock + R] = {};
    for (int64_t k = 0; k < nk; ++k) {
        prefetch_run(o, o.offset(row, k0 + k + kAhead), n_rows);
        const int64_t at = o.offset(row, k0 + k);
        if (!plain) load_run(o, at, 1, n_rows, run);
        const T* from = plain ? plain + at : run;
        for (int64_t i = 0; i < n_rows; i += R) copy_row<R>(from + i, dst + i / R * panel_stride + k * R);
    }
}

// Rows row .. row + n_rows - 1 (at most kColBlock) and k0 .. k0 + nk - 1 into panels `panel_stride` elements apart.
template <int R, typename T>
inline void pack_panels(const Operand& o, int64_t row, int64_t n_rows, int64_t k0, int64_t nk, int64_t panel_stride,
                        T* dst) {
    if (o.row_stride == 1 && o.k_stride != 1) return pack_across<R>(o, row, n_rows, k0, nk, panel_stride, dst);
    for (int64_t i = 0; i < n_rows; i += R) {
        const int64_t n_left = n_rows - i;
        for (int64_t ahead = R; plain_data<T>(o) && ahead < 2 * R && ahead < n_left; ++ahead)
            prefetch_run(o, o.offset(row + i + ahead, k0), nk);
        pack_along<R>(o, row + i, n_left < R ? n_left : R, n_left - R, k0, nk, dst + i / R * panel_stride);
    }
}

}  // namespace ggq::cpu::GGQ_ISA
