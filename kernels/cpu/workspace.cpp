#include "kernels/cpu/workspace.h"

#include <algorithm>

#include "kernels/chunks.h"
#include "kernels/formats.h"
#include "kernels/rounding.h"
#include "kernels/sampling.h"

namespace ggq::cpu {

namespace {

int64_t aligned(int64_t bytes) { return round_up(bytes, 64); }

}  // namespace

// few_rows.h keeps x and one more row; gemm.h a panel of w for each thread and a block of x.
int64_t product_workspace(int64_t m, int64_t k, int n_terms, int n_threads, int64_t real_bytes) {
    const int64_t few = (std::min(m, kFewRows) + 1) * (k + n_terms * kFewPadding);
    const int64_t rows = std::min(m, kRowBlock) + kMaxTile, depth = std::min(round_up(k, kDepthStep), kDepthBlock);
    return aligned(real_bytes * std::max(few, n_threads * kColBlock * kDepthBlock + rows * depth));
}

int64_t matmul_workspace(int64_t m, int64_t k, int n_threads, int64_t real_bytes) {
    return product_workspace(m, k, 1, n_threads, real_bytes);
}

int64_t linear_input_gradient_workspace(int64_t m, int64_t n, int n_threads, int64_t real_bytes) {
    return product_workspace(m, n, 1, n_threads, real_bytes);
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
    int64_t product = product_workspace(chunk, channels, 1, n_threads, real_bytes);
    if (params.gradient != HeadGradient::none)
        product = std::max(product, product_workspace(chunk, vocabulary, 1, n_threads, real_bytes));
    if (params.gradient == HeadGradient::input_and_weight)
        product = std::max(product, product_workspace(vocabulary, chunk, 1, n_threads, real_bytes));
    return head_buffers(n_rows, channels, vocabulary, params, real_bytes).product + product;
}

int64_t sample_workspace(int64_t vocabulary, int n_threads) {
    return n_threads * aligned(16 * sampling::kDigits + 4 * vocabulary);
}

QuantizeBuffers quantize_buffers(int64_t n_scales) {
    QuantizeBuffers at;
    at.chunk_sums = at.absmax + aligned(4 * n_scales);
    at.bytes = at.chunk_sums + aligned(8 * ceil_div(n_scales, kSumChunk));
    return at;
}

int64_t quantize_workspace(DType dtype, int64_t n_elems, int block, bool double_quant) {
    if (!format(dtype).block_scales || !double_quant) return 0;
    return quantize_buffers(ceil_div(n_elems, block)).bytes;
}

}  // namespace ggq::cpu
