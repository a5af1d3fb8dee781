#include "kernels/cuda/low_rank_workspace.h"

#include <algorithm>

#include "kernels/cuda/workspace.h"
#include "kernels/rounding.h"

namespace ggq::cuda {

bool takes_low_rank(DType real, int64_t width, int64_t rank, float dropout, const Device& device) {
    const bool is_half = real == DType::f16 || real == DType::bf16;
    return is_half && device.capability >= 80 && width > 0 && width % 32 == 0 && rank > 0 && rank <= kMostLowRank &&
           dropout <= kMostLowRankDropout;
}

// As many blocks as run at once: no more parts than that, as every one of them is written and read again.
int64_t low_rank_outer_chunk(int64_t m, int64_t c, int64_t rank, int n, const Device& device) {
    constexpr int64_t kMostParts = 64;
    const int64_t wanted = low_rank_outer_blocks(rank, n) * device.n_sms / ceil_div(c, kOuterCols);
    const int64_t parts = std::clamp<int64_t>(wanted, 1, std::min(kMostParts, std::max<int64_t>(m / kOuterRows, 1)));
    return std::max(round_up(ceil_div(m, parts), kOuterRows), kOuterRows);
}

int64_t low_rank_outer_parts(int64_t m, int64_t c, int64_t rank, int n, const Device& device) {
    return std::max<int64_t>(ceil_div(m, low_rank_outer_chunk(m, c, rank, n, device)), 1);
}

int64_t low_rank_outer_workspace(int64_t m, int64_t c, int64_t rank, int n, const Device& device) {
    const int64_t parts = low_rank_outer_parts(m, c, rank, n, device);
    return aligned_256(n * parts * rank * c * 4);
}

// Wide strips write fewer parts of dxa, narrow ones give more blocks.
BackwardCut backward_cut(int64_t m, int64_t n, int64_t rank, const Device& device) {
    BackwardCut cut{.padded = rank > 32 ? 64 : rank > 16 ? 32 : 16};
    if (cut.padded == 16 && (n < 2048 || m < 2048)) cut.width = 32;
    cut.col_parts = ceil_div(n, int64_t{kBackwardWarps} * cut.width);
    const int64_t blocks = backward_blocks(cut.padded) * device.n_sms;
    const int64_t parts = std::clamp<int64_t>(blocks / cut.col_parts, 1, std::max<int64_t>(m / 64, 1));
    cut.chunk = std::max<int64_t>(round_up(ceil_div(m, parts), 16), 16);
    cut.row_parts = std::max<int64_t>(ceil_div(m, cut.chunk), 1);
    return cut;
}

int64_t low_rank_backward_workspace(int64_t m, int64_t n, int64_t rank, const Device& device) {
    const BackwardCut cut = backward_cut(m, n, rank, device);
    return aligned_256(cut.col_parts * m * cut.padded * 4) + aligned_256(cut.row_parts * n * cut.padded * 4);
}

}  // namespace ggq::cuda
