#include "kernels/cpu/workspace.h"

#include <algorithm>

#include "kernels/formats.h"

namespace ggq::cpu {

namespace {

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t few_rows_bytes(int64_t m, int64_t k, int n_terms, int64_t real_bytes) {
    return m <= kFewRows ? aligned(real_bytes * (m + 1) * (k + n_terms * kFewPadding)) : 0;
}

int64_t gemm_bytes(int64_t m, int64_t k, int n_threads, int64_t real_bytes) {
    const int64_t rows = std::min(m, kRowBlock) + kMaxTile, depth = std::min((k + 63) / 64 * 64, kDepthBlock);
    return aligned(real_bytes * (n_threads * kColBlock * kDepthBlock + rows * depth));
}

int64_t product_bytes(int64_t m, int64_t k, int n_terms, int n_threads, int64_t real_bytes) {
    return std::max(few_rows_bytes(m, k, n_terms, real_bytes), gemm_bytes(m, k, n_threads, real_bytes));
}

}  // namespace

int64_t matmul_workspace(int64_t m, int64_t k, int n_threads, int64_t real_bytes) {
    return product_bytes(m, k, 1, n_threads, real_bytes);
}

int64_t quant_matmul_backward_workspace(int64_t m, int64_t n, int n_threads, int64_t real_bytes) {
    return gemm_bytes(m, n, n_threads, real_bytes);
}

int64_t lora_linear_workspace(int64_t m, int64_t k, int64_t r, int n_threads, int64_t real_bytes) {
    return product_bytes(m, k + r, 2, n_threads, real_bytes);
}

int64_t lora_gradient_bytes(int64_t m, int64_t r, int64_t real_bytes) { return aligned(m * r * real_bytes); }

// The four products have m, n, r and m rows, and n, m, m and n + r as what is summed over.
int64_t lora_linear_backward_workspace(int64_t m, int64_t n, int64_t r, int n_threads, int64_t real_bytes) {
    const int64_t rows = std::max({m, n, r}), depth = std::max(m, n + r);
    return lora_gradient_bytes(m, r, real_bytes) + gemm_bytes(rows, depth, n_threads, real_bytes);
}

HeadBuffers head_buffers(int64_t n_rows, int64_t channels, int64_t vocabulary, const LinearCrossEntropyParams& params,
                         int64_t real_bytes) {
    const int64_t chunk = std::min<int64_t>(params.chunk, n_rows);
    const int64_t gathered_bytes = aligned(chunk * channels * real_bytes);
    HeadBuffers at{};
    at.losses = at.rows + aligned(n_rows * 8);
    at.gathered = at.losses + aligned(n_rows * 8);
    at.dx = at.gathered + gathered_bytes;
    at.logits = at.dx + (params.gradient == HeadGradient::none ? 0 : gathered_bytes);
    at.product = at.logits + aligned(chunk * vocabulary * real_bytes);
    return at;
}

int64_t linear_cross_entropy_workspace(int64_t n_rows, int64_t channels, int64_t vocabulary,
                                       const LinearCrossEntropyParams& params, int n_threads, int64_t real_bytes) {
    const int64_t chunk = std::min<int64_t>(params.chunk, n_rows);
    int64_t product = product_bytes(chunk, channels, 1, n_threads, real_bytes);
    if (params.gradient != HeadGradient::none)
        product = std::max(product, gemm_bytes(chunk, vocabulary, n_threads, real_bytes));
    if (params.gradient == HeadGradient::input_and_weight)
        product = std::max(product, gemm_bytes(vocabulary, chunk, n_threads, real_bytes));
    return head_buffers(n_rows, channels, vocabulary, params, real_bytes).product + product;
}

int64_t quantize_workspace(DType dtype, int64_t n_elems, int block, bool double_quant) {
    if (!format(dtype).block_scales || !double_quant) return 0;
    const int64_t n_scales = (n_elems + block - 1) / block;
    return aligned(4 * n_scales) + aligned(8 * ((n_scales + 4095) / 4096));
}

}  // namespace ggq::cpu
