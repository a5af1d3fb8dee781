// The choice of an engine for a product, and the conversion of operands for those that want both factors in one type.
#include "kernels/cuda/product.h"

#include "kernels/cuda/blas.h"
#include "kernels/cuda/dequantize.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product_output.cuh"
#include "kernels/cuda/product_workspace.h"
#include "kernels/cuda/several_rows_4bit.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256;

// to[rows,k] = elements of the operand; 8 at a time if `wide`. Grid: (runs of a row, rows), both looped over.
template <typename To, bool wide>
__global__ void __launch_bounds__(kThreads)
    convert_kernel(const __grid_constant__ Operand o, int64_t rows, int64_t k, To* to) {
    constexpr int kRun = wide ? 8 : 1;
    for (int64_t row = blockIdx.y; row < rows; row += gridDim.y)
        for (int64_t at = (blockIdx.x * int64_t{kThreads} + threadIdx.x) * kRun; at < k;
             at += int64_t{gridDim.x} * kThreads * kRun) {
            const int64_t from = row * o.row_stride + at * o.k_stride;
            if constexpr (wide) {
                float run[8];
                eight_at(o.data, o.dtype, from, run);
                if constexpr (sizeof(To) == 2) store<8>(to + row * k + at, run);
                else {
                    store<4>(to + row * k + at, reinterpret_cast<const float(&)[4]>(run[0]));
                    store<4>(to + row * k + at + 4, reinterpret_cast<const float(&)[4]>(run[4]));
                }
            } else {
                to[row * k + at] = from_float<To>(value_at(o.data, o.dtype, from));
            }
        }
}

// As cuBLAS wants it: rows, or k, that run along memory and do not overlap.
bool as_blas(const Operand& o, int64_t rows, int64_t k, BlasMatrix& matrix) {
    matrix = {.data = o.data, .dtype = o.dtype};
    if ((o.k_stride == 1 || k == 1) && (o.row_stride >= k || rows == 1)) {
        matrix.stride = rows == 1 ? k : o.row_stride;
        return true;
    }
    matrix.transposed = true;
    matrix.stride = k == 1 ? rows : o.k_stride;
    return (o.row_stride == 1 || rows == 1) && matrix.stride >= rows;
}

// Both factors have one type; no low-rank update.
void multiply_dense(const CudaContext& ctx, const Product& p, void* blas_bytes) {
    BlasProduct b{.m = p.m,
                  .n = p.n,
                  .k = p.k,
                  .y = p.y.data,
                  .y_dtype = p.y.dtype,
                  .y_stride = p.y.row_stride,
                  .alpha = p.y.alpha,
                  .beta = p.y.beta};
    if (ctx.blas && as_blas(p.x, p.m, p.k, b.x) && as_blas(p.w, p.n, p.k, b.w) && p.y.col_stride == 1 &&
        p.y.row_stride >= p.n)
        return ctx.blas->multiply(ctx.stream, b, blas_bytes, blas_workspace(*ctx.device));
    gemm(ctx, {.m = p.m, .n = p.n, .k = p.k, .x = p.x, .w = p.w, .y = p.y});
}

bool on_16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// x with rows that are contiguous and aligned, copied if they are not.
Operand aligned_rows(const CudaContext& ctx, const Operand& x, int64_t rows, int64_t k, Scratch& scratch) {
    if (x.k_stride == 1 && x.row_stride % 8 == 0 && on_16(x.data)) return x;
    void* copy = scratch.take(rows * k * info(x.dtype).bytes);
    convert_dense(ctx, x, rows, k, x.dtype, copy);
    return operand(copy, x.dtype, k);
}

}  // namespace

void copy_unless_same(const CudaContext& ctx, const View& from, const View& to) {
    if (from.data == to.data) return;
    const auto bytes = static_cast<size_t>(to.n_elems() * info(to.dtype).bytes);
    GGQ_CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, bytes, cudaMemcpyDeviceToDevice, ctx.stream));
}

void convert_dense(const CudaContext& ctx, const Operand& o, int64_t rows, int64_t k, DType to, void* data) {
    Operand from = o;
    if (from.k_stride == 1 && from.row_stride == k) {  // one long row
        k *= rows;
        rows = 1;
    }
    const bool wide =
        from.k_stride == 1 && k % 8 == 0 && on_16(from.data) && (rows == 1 || from.row_stride % 8 == 0) && on_16(data);
    const int64_t fill = 32 * int64_t{ctx.device->n_sms}, across = ceil_div(k, (wide ? 8 : 1) * kThreads);
    const dim3 grid(static_cast<unsigned>(across < fill ? across : fill),
                    static_cast<unsigned>(rows < 65535 ? rows : 65535));
    with_real(to, [&](auto tag) {
        using To = decltype(tag);
        launch(ctx, wide ? convert_kernel<To, true> : convert_kernel<To, false>, grid, kThreads, 0, from, rows, k,
               data);
    });
}

Operand converted(const CudaContext& ctx, const Operand& o, int64_t rows, int64_t k, DType to, Scratch& scratch) {
    if (o.dtype == to) return o;
    void* data = scratch.take(rows * k * info(to).bytes);
    if (info(o.dtype).quantized) {
        dequantize_to(ctx, o.quant, o.dtype, rows * k, to, data);
        return {.data = data, .dtype = to, .row_stride = o.row_stride, .k_stride = o.k_stride};
    }
    if (o.row_stride == 1 && o.k_stride != 1) {  // in the order in which it lies
        convert_dense(ctx, transposed(o), k, rows, to, data);
        return transposed(operand(data, to, rows));
    }
    convert_dense(ctx, o, rows, k, to, data);
    return operand(data, to, k);
}

void multiply_tiled(const CudaContext& ctx, const Product& p, Scratch scratch) {
    if (p.m == 0 || p.n == 0) return;
    Product dense = p;
    dense.x = converted(ctx, p.x, p.m, p.k, p.real, scratch);
    dense.w = converted(ctx, p.w, p.n, p.k, p.real, scratch);
    dense.y.low_rank = {};
    const LowRank& u = p.y.low_rank;
    Operand b = operand(u.b, u.b_dtype, u.rank);
    if (u.rank > 0) b = converted(ctx, b, p.n, u.rank, p.real, scratch);
    void* blas_bytes = scratch.take(blas_workspace(*ctx.device));
    multiply_dense(ctx, dense, blas_bytes);
    if (u.rank == 0) return;
    dense.x = operand(u.xa, u.xa_dtype, u.rank);
    dense.w = b;
    dense.k = u.rank;
    dense.y.alpha = u.scale;
    dense.y.beta = 1;
    multiply_dense(ctx, dense, blas_bytes);
}

void multiply(const CudaContext& ctx, const Product& p, Scratch scratch) {
    if (p.m == 0 || p.n == 0) return;
    if (several_rows_takes(ctx, p)) return several_rows_4bit(ctx, several_rows_call(p), scratch);
    if (!takes_some_rows(p.m, p.n, p.k, p.real, p.w.dtype, *ctx.device))
        return p.m <= kFewRows && !leaves_few_rows(p.m, p.n, p.k, p.real, p.w.dtype) ? few_rows(ctx, p, scratch)
                                                                                     : multiply_tiled(ctx, p, scratch);
    Product aligned = p;
    aligned.x = aligned_rows(ctx, p.x, p.m, p.k, scratch);
    some_rows(ctx, aligned, scratch);
}

}  // namespace ggq::cuda
