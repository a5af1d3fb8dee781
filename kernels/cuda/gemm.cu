// Own tiled products: where cuBLAS is not, or does not take the strides, and where dropout masks a factor or the
// result. The tile is 128 by 128, or 128 by 32 or 64 where there are few columns or x is masked. Sums of parts of k are
// added in order. Floor: 2 m n k FLOP.
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

bool is_aligned(const void* data, int64_t stride) {
    return reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride % 8 == 0;
}

Layout layout_of(const Operand& o) {
    if (o.k_stride == 1 && is_aligned(o.data, o.row_stride)) return Layout::along_k;
    if (o.row_stride == 1 && is_aligned(o.data, o.k_stride)) return Layout::along_rows;
    return Layout::any;
}

template <typename Form>
void run_form(const CudaContext& ctx, const GemmArgs& p, int parts) {
    const dim3 grid(static_cast<unsigned>(ceil_div(p.m, Form::rows)), static_cast<unsigned>(ceil_div(p.n, Form::cols)),
                    static_cast<unsigned>(parts));
    launch(ctx, gemm_kernel<Form>, grid, Form::threads, Form::shared_bytes, p);
}

template <typename T, Layout x, Layout w>
using Wide = GemmForm<T, 128, 128, 2, 4, x, w, false>;
template <typename T, int cols, Layout x, Layout w>
using Narrow = GemmForm<T, 128, cols, 4, 1, x, w, true>;

template <typename T, Layout x, Layout w>
void run_narrow(const CudaContext& ctx, const GemmArgs& p, int parts) {
    if (p.n <= 32) run_form<Narrow<T, 32, x, w>>(ctx, p, parts);
    else run_form<Narrow<T, 64, x, w>>(ctx, p, parts);
}

template <typename T>
void run(const CudaContext& ctx, const GemmArgs& p, int parts) {
    constexpr Layout along_k = Layout::along_k, along_rows = Layout::along_rows, any = Layout::any;
    const Layout x = layout_of(p.x), w = layout_of(p.w);
    const bool narrow = p.mask_x || (p.n <= 64 && !p.mask_y);
    if (narrow && x == along_k && w == along_k) run_narrow<T, along_k, along_k>(ctx, p, parts);
    else if (narrow && x == along_rows && w == along_rows) run_narrow<T, along_rows, along_rows>(ctx, p, parts);
    else if (p.mask_x || x == any || w == any) run_form<Wide<T, any, any>>(ctx, p, parts);
    else if (p.mask_y && w == along_k) run_form<Wide<T, any, any>>(ctx, p, parts);
    else if (x == along_k && w == along_k) run_form<Wide<T, along_k, along_k>>(ctx, p, parts);
    else if (x == along_k) run_form<Wide<T, along_k, along_rows>>(ctx, p, parts);
    else if (w == along_k) run_form<Wide<T, along_rows, along_k>>(ctx, p, parts);
    else run_form<Wide<T, along_rows, along_rows>>(ctx, p, parts);
}

constexpr int kSumThreads = 256;

__global__ void __launch_bounds__(kSumThreads)
    sum_partials_kernel(const float* partial, int splits, int64_t m, int64_t n, bool halves, int64_t y_cols,
                        const __grid_constant__ Output y) {
    const int64_t step = int64_t{gridDim.x} * kSumThreads;
    for (int64_t at = blockIdx.x * int64_t{kSumThreads} + threadIdx.x; at < m * y_cols; at += step) {
        const int64_t row = at / y_cols, col = at % y_cols;
        float sum = 0;
#pragma unroll 4
        for (int s = 0; s < splits; ++s) {
            const float* part = partial + (s * m + row) * n + col;
            sum += part[0];
            if (halves) sum += part[n / 2];
        }
        finish(y, row, col, sum);
    }
}

// With y_cols the product is in halves.
void sum_parts(const CudaContext& ctx, const float* partial, int splits, int64_t m, int64_t n, int64_t y_cols,
               const Output& y) {
    const bool halves = y_cols > 0;
    const int64_t n_cols = halves ? y_cols : n;
    launch(ctx, sum_partials_kernel, dim3(blocks_for(ctx, m * n_cols, kSumThreads)), kSumThreads, 0, partial, splits, m,
           n, halves, n_cols, y);
}

}  // namespace

void gemm(const CudaContext& ctx, const Gemm& g) {
    GGQ_ASSERT(g.x.dtype == g.w.dtype && g.y.low_rank.rank == 0);
    const Mask& mask = g.x_mask.masks() ? g.x_mask : g.y_mask;
    // A sum over no k is zeros, and one block of each tile writes them.
    const int64_t k = g.k > 0 ? g.k : 1, chunk = round_up(ceil_div(k, g.splits), kDepth);
    const auto parts = static_cast<int>(ceil_div(k, chunk));
    const bool summed = parts > 1 || g.in_halves();
    const bool pairs = g.y.col_stride == 1 && g.y.row_stride % 2 == 0 && g.n % 2 == 0 &&
                       reinterpret_cast<uintptr_t>(g.y.data) % 4 == 0;
    const GemmArgs args{.x = g.x,
                        .w = g.w,
                        .m = g.m,
                        .n = g.n,
                        .k = g.k,
                        .chunk = chunk,
                        .y = g.y,
                        .partial = summed ? g.partial : nullptr,
                        .pairs = pairs,
                        .mask_x = g.x_mask.masks(),
                        .mask_y = g.y_mask.masks(),
                        .rng = mask.rng,
                        .dropout = DropoutScale(mask.dropout)};
    switch (g.x.dtype) {
        case DType::f32: gemm_f32(ctx, args, parts); break;
        case DType::f16: run<f16>(ctx, args, parts); break;
        default: run<bf16>(ctx, args, parts); break;
    }
    if (summed) sum_parts(ctx, g.partial, parts, g.m, g.n, g.y_cols, g.y);
}

void sum_partials(const CudaContext& ctx, const float* partial, int splits, int64_t m, int64_t n, const Output& y) {
    sum_parts(ctx, partial, splits, m, n, 0, y);
}

}  // namespace ggq::cuda
