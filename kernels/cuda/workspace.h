// Scratch bytes of the CUDA kernels that are no products and no attention. Every part begins at a multiple of 256
// bytes.
#pragma once

#include <cstdint>

#include "kernels/rounding.h"
#include "kernels/sampling.h"
#include "kernels/view.h"

namespace ggq::cuda {

constexpr int64_t aligned_256(int64_t bytes) { return round_up(bytes, 256); }

// sum, global_norm: f64 sums of chunks of kSumChunk elements.
int64_t reduce_workspace(int64_t n_elems);

// sample: what the blocks of a row tell each other, for each row of logits.
inline constexpr int kMostSampleParts = 64;  // blocks of a row
struct SampleRow {
    // Zero at first.
    uint32_t arrived;                               // blocks that have come to where all meet
    uint32_t counts[3][sampling::kDigits];          // tokens by upper digit; by lower one where top-k and top-p end
    unsigned long long weights[sampling::kDigits];  // by upper digit
    // Written before it is read.
    uint64_t largest[kMostSampleParts];
    uint64_t ties[kMostSampleParts], weight[kMostSampleParts];
};
constexpr int64_t sample_workspace(int64_t n_rows) {
    return aligned_256(n_rows * static_cast<int64_t>(sizeof(SampleRow)));
}

// rms_norm_backward of dx[T,C]: with dw, f32[ceil(T / kNormChunk), C] sums over chunks of rows; else nothing.
int64_t rms_norm_backward_workspace(int64_t n_rows, int64_t C, bool with_dw);

// embedding_backward of dy[T,C] into dtable[V,C].
struct EmbeddingBuffers {
    int64_t order = 0;   // i32[T] positions, sorted by id, equal ids in order of position
    int64_t ranges = 0;  // i32[V][2] where a row's positions begin and end in `order`
    int64_t bytes = 0;
};
EmbeddingBuffers embedding_buffers(int64_t n_tokens, int64_t vocabulary);
int64_t embedding_backward_workspace(int64_t n_tokens, int64_t vocabulary);

// cross_entropy of logits[T,V]: f64[T] losses of the rows.
int64_t cross_entropy_workspace(int64_t n_rows);

// quantize: under double quantization the absmax of all blocks, before they are coded themselves; else nothing.
struct QuantizeBuffers {
    int64_t absmax = 0;      // f32[blocks]
    int64_t chunk_sums = 0;  // f64[ceil(blocks / kSumChunk)]
    int64_t bytes = 0;
};
QuantizeBuffers quantize_buffers(int64_t n_scales);
int64_t quantize_workspace(DType dtype, int64_t n_elems, int block, bool double_quant);

}  // namespace ggq::cuda
