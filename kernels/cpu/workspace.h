// Sizes that do not depend on the instruction set: how products are cut into blocks, and the workspace bytes that the
// kernels other than attention want. `real_bytes` is 4 or 8, the size of the computing type; `n_threads` that of the
// pool.
#pragma once

#include <cstdint>

#include "kernels/params.h"
#include "kernels/view.h"

namespace ggq::cpu {

// A block of packed x is at most kRowBlock + kMaxTile rows of kDepthBlock and stays in a core's L2 cache beside one
// panel of packed w, kColBlock by kDepthBlock.
inline constexpr int64_t kRowBlock = 768, kDepthBlock = 512, kColBlock = 128;
inline constexpr int64_t kDepthStep = 64;  // the depth of a block is a multiple of it
inline constexpr int64_t kMaxTile = 16;    // rows of the largest register tile, rounded up

// Products of at most so many rows take the form of few_rows.h, which pads the k of each term to kFewPadding.
inline constexpr int64_t kFewRows = 16, kFewPadding = 64;

// A product of m rows over k, of all n_terms together; it does not depend on the columns.
int64_t product_workspace(int64_t m, int64_t k, int n_terms, int n_threads, int64_t real_bytes);

// y[m,n] = x[m,k] w[n,k]^T, w quantized or not
int64_t matmul_workspace(int64_t m, int64_t k, int n_threads, int64_t real_bytes);
// dx[m,k] = dy[m,n] w[n,k]
int64_t linear_input_gradient_workspace(int64_t m, int64_t n, int n_threads, int64_t real_bytes);

// Byte offsets of what linear_cross_entropy keeps: x[T,C], w[V,C], at most `chunk` labelled rows at a time.
struct HeadBuffers {
    int64_t rows;      // i64[T] numbers of the labelled rows
    int64_t losses;    // f64[T]
    int64_t gathered;  // [chunk,C] real
    int64_t dx;        // [chunk,C] real, if there is a gradient
    int64_t logits;    // [chunk,V] real
    int64_t product;   // workspace of the products
};
HeadBuffers head_buffers(int64_t n_rows, int64_t channels, int64_t vocabulary, const LinearCrossEntropyParams& params,
                         int64_t real_bytes);
int64_t linear_cross_entropy_workspace(int64_t n_rows, int64_t channels, int64_t vocabulary,
                                       const LinearCrossEntropyParams& params, int n_threads, int64_t real_bytes);

// sample: of each thread 16 bytes a digit (kernels/sampling.h), then u32[V].
int64_t sample_workspace(int64_t vocabulary, int n_threads);

// quantize: under double quantization the absmax of all blocks, before they are coded themselves; else nothing.
struct QuantizeBuffers {
    int64_t absmax = 0;      // f32[blocks]
    int64_t chunk_sums = 0;  // f64[ceil(blocks / kSumChunk)]
    int64_t bytes = 0;
};
QuantizeBuffers quantize_buffers(int64_t n_scales);
int64_t quantize_workspace(DType dtype, int64_t n_elems, int block, bool double_quant);

}  // namespace ggq::cpu
