// Dot products of rows of x with one row of a weight that is read as it is stored, never written out: the loop that all
// forms of few_rows.h share, in float.
//
// A reader is one row of the weight: it turns the kGroup weights at `at` into kVecs vectors, in an order of its own
// that makes reading them cheap, and x is laid out in that order once (`source`). What a reader says:
//   kVecs, kGroup     vectors and weights of a group; kGroup divides kFewPadding
//   source(i)         which element of its group is at place i
//   read(at, w)       the vectors
//   prefetch(at)      asks for what is read later
//   add(sum, part, at)    sum + part times the scale of the group or of the row
//   tail(at, n, buffer)   a reader of the last n < kGroup weights and zeros behind them
// Products of kChain vectors are one chain of multiply-adds, chains overlap; each row of x gets the same bits whatever
// the number of rows beside it.
#pragma once

#include "kernels/cpu/product.h"
#include "kernels/cpu/workspace.h"

namespace ggq::cpu::GGQ_ISA {

inline constexpr int kFewCols = 4;           // rows of w together
inline constexpr int kChain = 4;             // vectors of a group that are summed before its scale is applied
inline constexpr int64_t kFewPiece = 16384;  // of k, of as many rows of x as are taken together

// How far ahead weights are asked for, past the end of a row into the next ones: decoding leaves the core too few loads
// in flight to cover the latency of memory.
inline constexpr int64_t kPrefetchBytes = 1024;

template <typename Reader, int Rows>
GGQ_INLINE void dot_group(const Reader& w, int64_t at, const float* x, int64_t x_stride, Vec<float>* sum) {
    constexpr int kVecs = Reader::kVecs, kStep = kLanes<float>;
    Vec<float> column[kVecs];
    w.read(at, column);
#pragma GCC unroll 2
    for (int first = 0; first < kVecs; first += kChain) {
        Vec<float> part[Rows];
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) part[r] = column[first] * load(x + r * x_stride + at + first * kStep);
#pragma GCC unroll 4
        for (int j = first + 1; j < first + kChain; ++j)
#pragma GCC unroll 4
            for (int r = 0; r < Rows; ++r)
                part[r] = madd<float>(column[j], load(x + r * x_stride + at + j * kStep), part[r]);
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) sum[r] = w.add(sum[r], part[r], at);
    }
}

// sums[Rows] += w[n] x[Rows, n]^T lane by lane.
template <typename Reader, int Rows>
void dot_row(const Reader& w, const float* x, int64_t x_stride, int64_t n, Vec<float>* sums, int64_t sums_stride) {
    Vec<float> sum[Rows];
    for (int r = 0; r < Rows; ++r) sum[r] = sums[r * sums_stride];
    int64_t at = 0;
    for (; at + Reader::kGroup <= n; at += Reader::kGroup) {
        w.prefetch(at);
        dot_group<Reader, Rows>(w, at, x, x_stride, sum);
    }
    if (at < n) {
        typename Reader::Tail rest;
        dot_group<Reader, Rows>(w.tail(at, n - at, rest), 0, x + at, x_stride, sum);
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) sums[r * sums_stride] = sum[r];
}

// sums[m][kFewCols] += n_cols rows of w times m rows of x, four of which stay in L1 while every row of w passes.
template <typename Reader>
void dot_columns(const Reader* w, int64_t n_cols, const float* x, int64_t x_stride, int64_t n, int64_t m,
                 Vec<float>* sums) {
    constexpr decltype(&dot_row<Reader, 1>) kDots[] = {nullptr, dot_row<Reader, 1>, dot_row<Reader, 2>,
                                                       dot_row<Reader, 3>, dot_row<Reader, 4>};
    for (int64_t r = 0; r < m; r += 4)
        for (int64_t c = 0; c < n_cols; ++c)
            kDots[m - r < 4 ? m - r : 4](w[c], x + r * x_stride, x_stride, n, sums + r * kFewCols + c, kFewCols);
}

// to[n] = from[n] in the reader's order; both have room for whole groups.
template <typename Reader>
void order_for(const float* from, int64_t n, float* to) {
    for (int64_t group = 0; group < n; group += Reader::kGroup)
        for (int i = 0; i < Reader::kGroup; ++i) to[group + i] = from[group + Reader::source(i)];
}

}  // namespace ggq::cpu::GGQ_ISA
