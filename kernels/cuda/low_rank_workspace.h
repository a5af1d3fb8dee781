// What the low-rank kernels of low_rank.h take, and how low_rank_outer() cuts its rows: functions of shapes, dtypes and
// the card.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/view.h"

namespace ggq::cuda {

inline constexpr int kMostLowRank = 64;
inline constexpr float kMostLowRankDropout = 0.48f;  // masks compare random bits as f16, below infinity

// Whether the kernels take matrices of `width` columns (k of low_rank_down, c of the others), beside the alignment that
// low_rank.h asks for: f16 or bf16 from capability 8.0 on, a width in whole steps of 32, a rank of 1 to kMostLowRank.
bool takes_low_rank(DType real, int64_t width, int64_t rank, float dropout, const Device& device);

// Modules of one pass.
constexpr int modules_at_once(int64_t rank, int n) { return rank > 16 ? 1 : n; }

// low_rank_outer: blocks that share a multiprocessor, the rows of each part, a multiple of kOuterRows, and the number
// of parts, at least 1.
inline constexpr int64_t kOuterRows = 64, kOuterCols = 256;
constexpr int low_rank_outer_blocks(int64_t rank, int n) {
    const int64_t tiles = modules_at_once(rank, n) * (rank > 32 ? 4 : rank > 16 ? 2 : 1);  // of sums, 16 by 64 a warp
    return tiles == 1 ? 4 : tiles == 2 ? 3 : 2;
}
int64_t low_rank_outer_chunk(int64_t m, int64_t c, int64_t rank, int n, const Device& device);
int64_t low_rank_outer_parts(int64_t m, int64_t c, int64_t rank, int n, const Device& device);

// f32[n,parts,rank,c] sums.
int64_t low_rank_outer_workspace(int64_t m, int64_t c, int64_t rank, int n, const Device& device);

// low_rank_backward: how dy[m,n] is cut into rectangles, one a block, and the parts of dxa and db that they leave.
// `width` are the columns of a warp, of which sums are kept in registers.
inline constexpr int kBackwardWarps = 8;
struct BackwardCut {
    int padded = 16, width = 64;  // rank
    int64_t chunk = 0;            // rows of a block
    int64_t col_parts = 1, row_parts = 1;
};
BackwardCut backward_cut(int64_t m, int64_t n, int64_t rank, const Device& device);
int64_t low_rank_backward_workspace(int64_t m, int64_t n, int64_t rank, const Device& device);

// Blocks that share a multiprocessor: above a rank of 16 the sums take most of the registers.
constexpr int backward_blocks(int padded) { return padded > 16 ? 1 : 2; }

}  // namespace ggq::cuda
