#include "kernels/cuda/workspace.h"

#include "kernels/chunks.h"
#include "kernels/formats.h"

namespace ggq::cuda {

int64_t reduce_workspace(int64_t n_elems) { return aligned_256(8 * ceil_div(n_elems, kSumChunk)); }

int64_t rms_norm_backward_workspace(int64_t n_rows, int64_t C, bool with_dw) {
    return with_dw ? aligned_256(4 * C * ceil_div(n_rows, kNormChunk)) : 0;
}

EmbeddingBuffers embedding_buffers(int64_t n_tokens, int64_t vocabulary) {
    EmbeddingBuffers at;
    at.ranges = at.order + aligned_256(4 * n_tokens);
    at.bytes = at.ranges + aligned_256(8 * vocabulary);
    return at;
}

int64_t embedding_backward_workspace(int64_t n_tokens, int64_t vocabulary) {
    return embedding_buffers(n_tokens, vocabulary).bytes;
}

int64_t cross_entropy_workspace(int64_t n_rows) { return aligned_256(8 * n_rows); }

QuantizeBuffers quantize_buffers(int64_t n_scales) {
    QuantizeBuffers at;
    at.chunk_sums = at.absmax + aligned_256(4 * n_scales);
    at.bytes = at.chunk_sums + aligned_256(8 * ceil_div(n_scales, kSumChunk));
    return at;
}

int64_t quantize_workspace(DType dtype, int64_t n_elems, int block, bool double_quant) {
    if (!format(dtype).block_scales || !double_quant) return 0;
    return quantize_buffers(ceil_div(n_elems, block)).bytes;
}

}  // namespace ggq::cuda
