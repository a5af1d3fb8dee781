// How products are cut up, and the workspace bytes that product kernels want: functions of shapes, dtypes and the card.
// `real` is the computing type. Every part begins at a multiple of 256 bytes.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/params.h"
#include "kernels/view.h"

namespace ggq::cuda {

inline constexpr int64_t kFewRows = 8, kSomeRows = 64;

// few_rows.cu: whether the 4-bit form with tensor cores takes a product, the k of each part into which it is cut so
// that x stays in shared memory, and f32[parts,m,n] sums of these if there is more than one.
bool few_rows_in_tensor_cores(int64_t k, DType real, DType w);
int64_t few_rows_chunk(int64_t m, int64_t k, const Device& device);
int64_t few_rows_workspace(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device);

// some_rows.cu: whether it takes a product, the k of each part, a multiple of kSomeStep, and f32[parts,m,n] sums.
inline constexpr int64_t kSomeStep = 128, kSomeCols = 128;
int64_t some_rows_shared(int64_t m);  // bytes of shared memory
bool takes_some_rows(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device);
int64_t some_rows_chunk(int64_t m, int64_t n, int64_t k, const Device& device);
int64_t some_rows_workspace(int64_t m, int64_t n, int64_t k, const Device& device);

// Whether so few rows are left to the engine for many: from five on multiply-adds of a large dense weight take longer
// than its bytes.
bool leaves_few_rows(int64_t m, int64_t n, int64_t k, DType real, DType w);

// several_rows_4bit.cu: whether it takes a weight [n,k] in blocks of 64 against m rows, contiguous and on 16 bytes; the
// columns to which m rows are padded, a block of them at a time; the rows of a tile of w; and f32[places,cols,rows]
// sums, a place for each block of threads and for each of n_tiles tiles of w against a block of columns.
inline constexpr int64_t kSeveralRows = 128, kSeveralShared = 225 << 10;  // bytes of shared memory
bool takes_several_rows(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device);
int64_t several_rows_cols(int64_t m);
int64_t several_rows_tile(int64_t m);
int64_t several_rows_workspace(int64_t m, int64_t n_tiles, const Device& device);

// cuBLAS: 32 MiB from Hopper on, as NVIDIA recommends, else 4 MiB.
int64_t blas_workspace(const Device& device);

// n elements of type `from` in the computing type; 0 if that is their own.
int64_t converted_bytes(int64_t n_elems, DType from, DType real);

// Many rows: x and w in the computing type if they have another, then the workspace of cuBLAS.
int64_t tiled_workspace(int64_t m, int64_t n, int64_t k, DType real, DType x, DType w, const Device& device);

// y[m,n] = x[m,k] w[n,k]^T by the engine for so many rows: that of several_rows, which may leave it to the others, if
// it takes them; that of few_rows, unless it leaves them to that of many; that of some_rows and before it a copy of x
// (for which there is only a use where x is not aligned); or that of many.
int64_t product_workspace(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device);

// Whether multiply() has w[n,k] in the computing type before it multiplies: it restores one that is quantized.
bool multiplies_restored(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device);

// gemm.cu: parts of k for a product with few columns, and f32[parts,m,n] sums if there is more than one, or if what is
// multiplied are halves of numbers.
int low_rank_splits(int64_t m, int64_t n, int64_t k, const Device& device);
int64_t low_rank_workspace(int64_t m, int64_t n, int64_t k, bool in_halves, const Device& device);

// What the ops want. matmul and quant_matmul: product_workspace().

// dx[m,k] = dy[m,n] w[n,k]
int64_t linear_input_gradient_workspace(int64_t m, int64_t n, int64_t k, DType real, DType w, const Device& device);

// Byte offsets of what linear_cross_entropy keeps: x[T,C], w[V,C], at most `chunk` labelled rows at a time.
struct HeadBuffers {
    int64_t n_labelled = 0;     // i32[1]
    int64_t rows = 0;           // i32[T] numbers of the labelled rows
    int64_t losses = 0;         // f64[T]
    int64_t w = 0;              // [V,C] real, if w has another type
    int64_t gathered = 0;       // [chunk,C] real
    int64_t dx = 0;             // [chunk,C] real, if there is a gradient
    int64_t logits = 0;         // f32[chunk,logits_stride]; its gradient, real, takes its place
    int64_t product = 0;        // workspace of the products
    int64_t chunk = 0;          // rows: that of the parameters, or all
    int64_t logits_stride = 0;  // V rounded up to 8
};
HeadBuffers head_buffers(int64_t n_rows, int64_t channels, int64_t vocabulary, DType real, DType w,
                         const LinearCrossEntropyParams& params);
int64_t linear_cross_entropy_workspace(int64_t n_rows, int64_t channels, int64_t vocabulary, DType real, DType w,
                                       const LinearCrossEntropyParams& params, const Device& device);

}  // namespace ggq::cuda
