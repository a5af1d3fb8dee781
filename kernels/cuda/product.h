// The one product behind matmul, quant_matmul, lora_linear and linear_cross_entropy:
//   y[m,n] = alpha x[m,k] w[n,k]^T + s xa[m,r] b[n,r]^T + beta y
// The second term is a low-rank update, for which xa and b are given. multiply() chooses the engine by shape, dtypes
// and layout: several_rows_4bit.cu on Hopper for at most kSeveralRows rows and a 4-bit weight, few_rows.cu for at most
// kFewRows rows, some_rows.cu for at most kSomeRows and a 4-bit weight (both fewer where the card's table says so,
// tuning.h), else cuBLAS or, where it is not or does not take the strides, gemm.cu. Operands of another dtype than
// `real` are converted before.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/check.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/workspace.h"
#include "kernels/params.h"
#include "kernels/view.h"

namespace ggq::cuda {

// One factor: a matrix [rows, k] of which dot products run along k. Strides in elements.
struct Operand {
    const void* data = nullptr;
    DType dtype = DType::f32;
    int64_t row_stride = 0, k_stride = 0;
    QuantParts quant = {};
};

// A view [rows, k] as it lies.
inline Operand operand(const View& v) {
    return {.data = v.data, .dtype = v.dtype, .row_stride = v.strides[0], .k_stride = v.strides[1], .quant = v.quant};
}

// A matrix in memory of our own, `stride` elements from row to row.
inline Operand operand(const void* data, DType dtype, int64_t stride) {
    return {.data = data, .dtype = dtype, .row_stride = stride, .k_stride = 1};
}

inline Operand transposed(Operand o) {
    const int64_t row_stride = o.row_stride;
    o.row_stride = o.k_stride;
    o.k_stride = row_stride;
    return o;
}

// s xa[m,r] b[n,r]^T, both contiguous.
struct LowRank {
    const void *xa = nullptr, *b = nullptr;
    DType xa_dtype = DType::f32, b_dtype = DType::f32;
    int rank = 0;  // 0: no update
    float scale = 1;
};

struct Output {
    void* data = nullptr;
    DType dtype = DType::f32;
    int64_t row_stride = 0, col_stride = 1;
    float alpha = 1, beta = 0;  // y is not read if beta is 0
    LowRank low_rank = {};
};

struct Product {
    int64_t m = 0, n = 0, k = 0;
    Operand x = {}, w = {};
    Output y = {};
    DType real = DType::f32;  // of the factors, when they are multiplied
};

// The rest of a workspace. Copies are cheap: a function takes what it needs and its caller's rest stays as it was.
class Scratch {
public:
    explicit Scratch(std::span<std::byte> bytes) : rest_(bytes) {}
    void* take(int64_t bytes) {
        const auto n = static_cast<size_t>(aligned_256(bytes));
        GGQ_ASSERT(n <= rest_.size(), "workspace too small");
        void* at = rest_.data();
        rest_ = rest_.subspan(n);
        return at;
    }

private:
    std::span<std::byte> rest_;
};

// For w as it lies in memory, k along its rows. Needs product_workspace() bytes and, for a low-rank update whose b has
// another type than `real`, converted_bytes() of that.
void multiply(const CudaContext& ctx, const Product& p, Scratch scratch);

// The engine for many rows, at any number of them and for transposed factors too; tiled_workspace() bytes.
void multiply_tiled(const CudaContext& ctx, const Product& p, Scratch scratch);

// The operand itself if it is dense and of type `to`, else a copy in scratch. `rows` and `k` are those of the operand
// as it is given, transposed or not.
Operand converted(const CudaContext& ctx, const Operand& o, int64_t rows, int64_t k, DType to, Scratch& scratch);

// to[rows,k] contiguous, of a dense operand of any strides.
void convert_dense(const CudaContext& ctx, const Operand& o, int64_t rows, int64_t k, DType to, void* data);

// What a product is to be added to: `to` becomes it, where it does not stand there already. Both contiguous.
void copy_unless_same(const CudaContext& ctx, const View& from, const View& to);

// The engines for few rows.

// m <= kFewRows; w and x of any layout, but fast if k runs along their rows. few_rows_workspace() bytes.
void few_rows(const CudaContext& ctx, const Product& p, Scratch scratch);
// takes_some_rows() holds, x is contiguous and aligned to 16 bytes. some_rows_workspace() bytes.
void some_rows(const CudaContext& ctx, const Product& p, Scratch scratch);

// Which elements of a matrix dropout keeps, by their offsets; what stays is to be scaled by kept().
struct Mask {
    const int64_t* rng = nullptr;  // device: {seed, counter}
    DropoutParams dropout = {};    // p 0: no mask

    bool masks() const { return dropout.p > 0; }
    float kept() const { return dropout.p < 1 ? 1 / (1 - dropout.p) : 0; }
};

// Own tiled product: dense x and w of one dtype, any strides. `splits` > 1 cuts k into so many parts, whose sums go to
// `partial` f32[splits,m,n] and are then added in order. In halves, w holds numbers as sums of two, the second ones
// n / 2 rows further: column j < y_cols of y is column j and column j + n / 2 of the product; needs `partial` too.
struct Gemm {
    int64_t m = 0, n = 0, k = 0;
    Operand x = {}, w = {};
    Output y = {};
    Mask x_mask = {};  // over offsets in x
    Mask y_mask = {};  // y += mask(alpha x w^T) over offsets in y; beta is 1
    int splits = 1;
    float* partial = nullptr;
    int64_t y_cols = 0;  // in halves: columns of y; else 0, and y has n

    bool in_halves() const { return y_cols > 0; }
};
void gemm(const CudaContext& ctx, const Gemm& g);

// y[m,n] from partial f32[splits,m,n].
void sum_partials(const CudaContext& ctx, const float* partial, int splits, int64_t m, int64_t n, const Output& y);

}  // namespace ggq::cuda
