#include "kernels/cpu/workspace.h"

#include <algorithm>

#include "kernels/formats.h"

namespace ggq::cpu {

namespace {

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t gemm_workspace(int64_t m, int64_t k, int n_threads, int64_t real_bytes) {
    const int64_t rows = std::min(m, kRowBlock) + kMaxTile, depth = std::min((k + 63) / 64 * 64, kDepthBlock);
    return real_bytes * (n_threads * kColBlock * kDepthBlock + rows * depth);
}

}  // namespace

int64_t product_workspace(int64_t m, int64_t k, int n_terms, int n_threads, int64_t real_bytes) {
    const int64_t few = m <= kFewRows ? real_bytes * m * (k + n_terms * kFewPadding) : 0;
    return aligned(std::max(few, gemm_workspace(m, k, n_threads, real_bytes)));
}

int64_t matmul_workspace(int64_t m, int64_t k, int n_threads, int64_t real_bytes) {
    return product_workspace(m, k, 1, n_threads, real_bytes);
}

int64_t quant_matmul_workspace(int64_t m, int64_t k, int n_threads, int64_t real_bytes) {
    return product_workspace(m, k, 1, n_threads, real_bytes);
}

int64_t quant_matmul_backward_workspace(int64_t m, int64_t n, int n_threads, int64_t real_bytes) {
    return product_workspace(m, n, 1, n_threads, real_bytes);
}

}  // namespace ggq::cpu
