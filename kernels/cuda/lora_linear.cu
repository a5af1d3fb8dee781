// A linear layer with a low-rank update beside a weight that is frozen (quantized) or not.
//   down       xa[m,r] = mask(x) a^T, for each a of those that share x, with a mask of its own
//   linear     y[m,n] = x w^T + s xa b^T (+ sum)
//   backward   dxa[m,r] = s dy b;  db[n,r] = s dy^T xa;  da[r,k] = dxa^T mask(x);  dx[m,k] = sum + mask(dxa a)
// A mask lies over the offsets of x and is made again wherever it is needed; what stays is scaled by 1 / (1 - p).
// Where low_rank.h takes the shape, x, dy and dx are read once for all that share them; y is one product of our own
// (product_hopper.h), or begins with its update, to which cuBLAS adds the product. Else all are products, one linear
// after the other: those with a masked factor or result our own (gemm.cu), the others cuBLAS's.
// da is kept in float and would show it if dxa were rounded to 16 bits: there it is a sum of two halves, high + low,
// side by side in a matrix [m,2r] whose product with x costs no more, as a tile is 32 columns wide.
// Floor: 2 m n k FLOP, and the bytes of what is wide.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/lora_workspace.h"
#include "kernels/cuda/low_rank.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_hopper.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256;

// g[m,rank] as high + low, to[m,2 stride]: high in the first columns, low in those from `stride` on, zeros between.
template <typename T>
__global__ void __launch_bounds__(kThreads) split_kernel(T* to, const float* g, int64_t m, int rank, int64_t stride) {
    const int64_t step = int64_t{gridDim.x} * kThreads;
    for (int64_t at = blockIdx.x * int64_t{kThreads} + threadIdx.x; at < m * stride; at += step) {
        const int64_t row = at / stride, col = at % stride;
        const float value = col < rank ? g[row * rank + col] : 0.0f;
        const T high = from_float<T>(value);
        to[2 * row * stride + col] = high;
        to[(2 * row + 1) * stride + col] = from_float<T>(value - to_float(high));
    }
}

// Of the i-th of those that share x.
Mask mask_of(const KernelArgs& args, int i) {
    Mask mask{args.in[1].as<const int64_t>(), args.param<DropoutParams>()};
    mask.dropout.site += static_cast<uint32_t>(i);
    return mask;
}

LowRankShape shape_of(const View& x, int64_t rank, int n, float dropout) {
    return {.m = x.shape[0], .k = x.shape[1], .rank = rank, .n = n, .real = x.dtype, .dropout = dropout};
}

// y[m,n] = mask(x) w^T, times the scale of what stays; y has few columns. With y_cols w is in halves.
void multiply_masked(const CudaContext& ctx, const Product& p, const Mask& mask, Scratch scratch, int64_t y_cols = 0) {
    Gemm g{.m = p.m, .n = p.n, .k = p.k, .x = p.x, .w = p.w, .y = p.y, .x_mask = mask, .y_cols = y_cols};
    g.y.alpha *= mask.kept();
    g.splits = low_rank_splits(p.m, p.n, p.k, *ctx.device);
    if (g.splits > 1 || g.in_halves()) g.partial = static_cast<float*>(scratch.take(g.splits * p.m * p.n * 4));
    gemm(ctx, g);
}

Output whole(const View& v) { return {.data = v.data, .dtype = v.dtype, .row_stride = v.shape[1]}; }

void down_of_one(const CudaContext& ctx, const View& x, const View& a, const View& xa, const Mask& mask,
                 Scratch scratch) {
    Product p{.m = x.shape[0],
              .n = a.shape[0],
              .k = x.shape[1],
              .x = operand(x),
              .w = operand(a),
              .y = whole(xa),
              .real = x.dtype};
    if (!mask.masks()) return multiply(ctx, p, scratch);
    p.w = converted(ctx, p.w, p.n, p.k, p.real, scratch);
    multiply_masked(ctx, p, mask, scratch);
}

// da^T = mask(x)^T dxa, so that x is the left factor.
void down_gradient_of_one(const CudaContext& ctx, const View& x, const View& dxa, const View& da, const Mask& mask,
                          Scratch scratch) {
    const int64_t m = x.shape[0], k = x.shape[1], rank = da.shape[0], stride = gradient_stride(rank);
    Product p{.m = k, .n = rank, .k = m, .x = transposed(operand(x)), .w = transposed(operand(dxa)), .real = x.dtype};
    p.y = {.data = da.data, .dtype = da.dtype, .row_stride = 1, .col_stride = k};
    if (x.dtype == DType::f32) return multiply_masked(ctx, p, mask, scratch);
    void* halves = scratch.take(m * 2 * stride * info(x.dtype).bytes);
    with_real(x.dtype, [&](auto tag) {
        launch(ctx, split_kernel<decltype(tag)>, blocks_for(ctx, m * stride, kThreads), kThreads, 0, halves,
               dxa.as<float>(), m, static_cast<int>(rank), stride);
    });
    p.n = 2 * stride;
    p.w = transposed(operand(halves, x.dtype, 2 * stride));
    multiply_masked(ctx, p, mask, scratch, rank);
}

// dx += mask(dxa a)
void input_gradient_of_one(const CudaContext& ctx, const View& dx, const View& a, const View& dxa, const Mask& mask,
                           Scratch scratch) {
    const int64_t m = dx.shape[0], k = dx.shape[1], rank = a.shape[0];
    Product p{.m = m, .n = k, .k = rank, .w = transposed(operand(a)), .y = whole(dx), .real = dx.dtype};
    p.x = converted(ctx, operand(dxa), m, rank, dx.dtype, scratch);
    p.y.beta = 1;
    if (!mask.masks()) return multiply_tiled(ctx, p, scratch);
    Gemm update{.m = m, .n = k, .k = rank, .x = p.x, .y = p.y, .y_mask = mask};
    update.w = transposed(converted(ctx, operand(a), rank, k, dx.dtype, scratch));
    update.y.alpha = mask.kept();
    gemm(ctx, update);
}

LowRankCall call_of(const LowRankShape& s, const Mask& mask) {
    return {.m = s.m, .width = s.k, .rank = static_cast<int>(s.rank), .n = s.n, .real = s.real, .mask = mask};
}

const void* in_type(const CudaContext& ctx, const View& v, DType real, Scratch& scratch) {
    return converted(ctx, operand(v), v.shape[0], v.shape[1], real, scratch).data;
}

}  // namespace

void lora_down(const CudaContext& ctx, const KernelArgs& args) {
    const View& x = args.in[0];
    const auto n = static_cast<int>(args.out.size());
    const int64_t rank = args.in[2].shape[0];
    const Mask mask = mask_of(args, 0);
    Scratch scratch(args.workspace);
    const LowRankShape shape = shape_of(x, rank, n, mask.dropout.p);
    if (!takes_low_rank(shape, *ctx.device)) {
        for (int i = 0; i < n; ++i) down_of_one(ctx, x, args.in[2 + i], args.out[i], mask_of(args, i), scratch);
        return;
    }
    LowRankDown p{call_of(shape, mask)};
    p.x = x.data;
    p.y_dtype = x.dtype;
    for (int i = 0; i < n; ++i) {
        p.a[i] = in_type(ctx, args.in[2 + i], x.dtype, scratch);
        p.y[i] = args.out[i].data;
    }
    low_rank_down(ctx, p);
}

void lora_down_backward(const CudaContext& ctx, const KernelArgs& args) {
    const View& x = args.in[0];
    const auto n = static_cast<int>(args.out.size());
    const int64_t rank = args.out[0].shape[0];
    const Mask mask = mask_of(args, 0);
    const Scratch scratch(args.workspace);
    const LowRankShape shape = shape_of(x, rank, n, mask.dropout.p);
    if (!takes_low_rank(shape, *ctx.device)) {
        for (int i = 0; i < n; ++i)
            down_gradient_of_one(ctx, x, args.in[2 + i], args.out[i], mask_of(args, i), scratch);
        return;
    }
    LowRankOuter p{call_of(shape, mask)};
    p.x = x.data;
    for (int i = 0; i < n; ++i) {
        p.u[i] = args.in[2 + i].as<float>();
        p.o[i] = args.out[i].as<float>();
    }
    low_rank_outer(ctx, p, scratch);
}

void lora_down_input_gradient(const CudaContext& ctx, const KernelArgs& args) {
    const View &sum = args.in[0], &dx = args.out[0];
    const auto n = static_cast<int>((args.in.size() - 2) / 2);
    const int64_t rank = args.in[2].shape[0];
    const Mask mask = mask_of(args, 0);
    Scratch scratch(args.workspace);
    const LowRankShape shape = shape_of(dx, rank, n, mask.dropout.p);
    if (!takes_low_rank(shape, *ctx.device)) {
        copy_unless_same(ctx, sum, dx);
        for (int i = 0; i < n; ++i)
            input_gradient_of_one(ctx, dx, args.in[2 + i], args.in[2 + n + i], mask_of(args, i), scratch);
        return;
    }
    LowRankAdd p{call_of(shape, mask)};
    p.sum = sum.data;
    p.y = dx.data;
    p.v_r_stride = p.width;
    for (int i = 0; i < n; ++i) {
        p.u[i] = args.in[2 + n + i].data;
        p.v[i] = in_type(ctx, args.in[2 + i], dx.dtype, scratch);
    }
    low_rank_add(ctx, p);
}

void lora_linear(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0], &w = args.in[1], &xa = args.in[2], &b = args.in[3];
    const View* sum = args.in.size() > 4 ? &args.in[4] : nullptr;
    const auto scale = static_cast<float>(args.param<ScaleParams>().factor);
    const int64_t rank = xa.shape[1];
    Product p{.m = x.shape[0],
              .n = w.shape[0],
              .k = x.shape[1],
              .x = operand(x),
              .w = operand(w),
              .y = whole(y),
              .real = y.dtype};
    Scratch scratch(args.workspace);
    Product updated = p;
    updated.y.low_rank = {.xa = xa.data,
                          .b = b.data,
                          .xa_dtype = xa.dtype,
                          .b_dtype = b.dtype,
                          .rank = static_cast<int>(rank),
                          .scale = scale};
    if (multiply_in_one(ctx, updated, sum ? sum->data : nullptr, scratch)) return;
    const LoraShape shape{.m = p.m, .n = p.n, .k = p.k, .rank = rank, .real = y.dtype, .w = w.dtype, .b = b.dtype};
    if (updates_before(shape, *ctx.device)) {
        LowRankAdd update{{.m = p.m, .width = p.n, .rank = static_cast<int>(rank), .real = y.dtype}};
        update.y = y.data;
        update.sum = sum ? sum->data : nullptr;
        update.u[0] = xa.data;
        update.u_dtype = xa.dtype;
        update.v[0] = in_type(ctx, b, y.dtype, scratch);
        update.v_r_stride = 1;
        update.v_c_stride = rank;
        update.scale = scale;
        low_rank_add(ctx, update);
        p.y.beta = 1;
        return multiply(ctx, p, scratch);
    }
    if (sum) {
        copy_unless_same(ctx, *sum, y);
        updated.y.beta = 1;
    }
    multiply(ctx, updated, scratch);
}

void lora_linear_backward(const CudaContext& ctx, const KernelArgs& args) {
    const View &dxa = args.out[0], &db = args.out[1], &dy = args.in[0], &xa = args.in[1], &b = args.in[2];
    const auto s = static_cast<float>(args.param<ScaleParams>().factor);
    const int64_t m = dy.shape[0], n = dy.shape[1], rank = xa.shape[1];
    Scratch scratch(args.workspace);
    if (!takes_low_rank(shape_of(dy, rank, 1, 0), *ctx.device)) {
        Product p{.m = m, .n = rank, .k = n, .x = operand(dy), .w = transposed(operand(b)), .real = dy.dtype};
        p.y = whole(dxa);
        p.y.alpha = s;
        multiply_tiled(ctx, p, scratch);
        p.m = n;
        p.k = m;
        p.x = transposed(operand(dy));
        p.w = transposed(operand(xa));
        p.y.data = db.data;
        return multiply_tiled(ctx, p, scratch);
    }
    LowRankBackward p{.m = m, .n = n, .rank = static_cast<int>(rank), .real = dy.dtype, .dy = dy.data, .xa = xa.data};
    p.b = in_type(ctx, b, dy.dtype, scratch);
    p.dxa = dxa.as<float>();
    p.db = db.as<float>();
    p.alpha = s;
    low_rank_backward(ctx, p, scratch);
}

}  // namespace ggq::cuda
