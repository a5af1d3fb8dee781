// A linear layer with a low-rank update beside a weight that is frozen (quantized) or not.
//   forward    xa[m,r] = drop(x) a^T;  y[m,n] = x w^T + s xa b^T
//   backward   g[m,r] = s dy b;  db[n,r] = s dy^T xa;  da[r,k] = g^T drop(x);  dx[m,k] = dy w + mask(g a)
// The mask lies over the offsets of x and is made again wherever it is needed; products with a masked factor or result
// are our own (gemm.cu), the others cuBLAS's. What stays is scaled by 1 / (1 - p) after summing, in float.
// da is kept in float and would show it if g were rounded to 16 bits: there it is a sum of two halves, g = high + low,
// side by side in a matrix [m,2r] whose product with x costs no more, as a tile is 32 columns wide.
// Floor: 2 m n k FLOP each way, and 2 m r (n + k) forward, twice that backward; reading x and dx once more for masks.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

Mask mask_of(const View& rng, const DropoutParams& params) { return {rng.as<const int64_t>(), params}; }

// y = mask(x) w^T times the scale of what stays; y has few columns. With y_cols w is in halves. low_rank_workspace()
// bytes.
void multiply_masked(const CudaContext& ctx, const Product& p, const Mask& mask, Scratch scratch, int64_t y_cols = 0) {
    Gemm g{.m = p.m, .n = p.n, .k = p.k, .x = p.x, .w = p.w, .y = p.y, .x_mask = mask, .y_cols = y_cols};
    g.y.alpha *= mask.kept();
    g.splits = low_rank_splits(p.m, p.n, p.k, *ctx.device);
    if (g.splits > 1 || g.in_halves()) g.partial = static_cast<float*>(scratch.take(g.splits * p.m * p.n * 4));
    gemm(ctx, g);
}

constexpr int kSplitThreads = 256;

// g[m,rank] as high + low, to[m,2 stride]: high in the first columns, low in those from `stride` on, zeros between.
template <typename T>
__global__ void __launch_bounds__(kSplitThreads)
    split_kernel(T* to, const float* g, int64_t m, int rank, int64_t stride) {
    const int64_t step = int64_t{gridDim.x} * kSplitThreads;
    for (int64_t at = blockIdx.x * int64_t{kSplitThreads} + threadIdx.x; at < m * stride; at += step) {
        const int64_t row = at / stride, col = at % stride;
        const float value = col < rank ? g[row * rank + col] : 0.0f;
        const T high = from_float<T>(value);
        to[2 * row * stride + col] = high;
        to[(2 * row + 1) * stride + col] = from_float<T>(value - to_float(high));
    }
}

struct Backward {
    const CudaContext& ctx;
    const KernelArgs& args;
    const View &dy, &x, &w, &a, &b, &xa;
    Mask mask;
    float scaling;
    int64_t m, n, k;
    int rank;
    DType real;

    Backward(const CudaContext& c, const KernelArgs& all)
        : ctx(c),
          args(all),
          dy(all.in[0]),
          x(all.in[1]),
          w(all.in[2]),
          a(all.in[3]),
          b(all.in[4]),
          xa(all.in[5]),
          mask(mask_of(all.in[6], all.param<LoraParams>().dropout)),
          scaling(all.param<LoraParams>().scaling),
          m(dy.shape[0]),
          n(dy.shape[1]),
          k(x.shape[1]),
          rank(static_cast<int>(a.shape[0])),
          real(dy.dtype) {}

    Output out(int i, int64_t stride) const {
        return {.data = args.out[i].data, .dtype = args.out[i].dtype, .row_stride = stride};
    }

    bool in_halves() const { return real != DType::f32; }

    // g in float, or its halves side by side.
    Operand low_rank_gradient(Scratch& scratch) const {
        const int64_t stride = gradient_stride(rank);
        if (!in_halves()) {
            void* g = scratch.take(m * stride * 4);
            gradient_in_float(g, stride, scratch);
            return operand(g, real, stride);
        }
        void* halves = scratch.take(m * 2 * stride * info(real).bytes);
        Scratch rest = scratch;
        auto* g = static_cast<float*>(rest.take(m * rank * 4));
        gradient_in_float(g, rank, rest);
        with_real(real, [&](auto tag) {
            launch(ctx, split_kernel<decltype(tag)>, blocks_for(ctx, m * stride, kSplitThreads), kSplitThreads, 0,
                   halves, g, m, rank, stride);
        });
        return operand(halves, real, 2 * stride);
    }

    void gradient_in_float(void* g, int64_t stride, Scratch scratch) const {
        const Product p{.m = m,
                        .n = rank,
                        .k = n,
                        .x = operand(dy),
                        .w = transposed(operand(b)),
                        .y = {.data = g, .dtype = DType::f32, .row_stride = stride, .alpha = scaling},
                        .real = real};
        m <= kFewRows ? few_rows(ctx, p, scratch) : multiply_tiled(ctx, p, scratch);
    }

    void gradient_of_b(Scratch scratch) const {
        Product p{.m = n,
                  .n = rank,
                  .k = m,
                  .x = transposed(operand(dy)),
                  .w = transposed(operand(xa)),
                  .y = out(1, rank),
                  .real = real};
        p.y.alpha = scaling;
        multiply_tiled(ctx, p, scratch);
    }

    // da^T = mask(x)^T g, so that x is the left factor.
    void gradient_of_a(const Operand& g, Scratch scratch) const {
        Product p{.m = k,
                  .n = in_halves() ? g.row_stride : rank,
                  .k = m,
                  .x = transposed(operand(x)),
                  .w = transposed(g),
                  .y = out(0, 1),
                  .real = real};
        p.y.col_stride = k;
        multiply_masked(ctx, p, mask, scratch, in_halves() ? rank : 0);
    }

    void gradient_of_x(const Operand& g, Scratch scratch) const {
        Product p{.m = m, .n = k, .k = n, .x = operand(dy), .w = transposed(operand(w)), .y = out(2, k), .real = real};
        multiply_tiled(ctx, p, scratch);
        p.k = rank;
        p.x = g;
        p.w = transposed(operand(a));
        p.y.beta = 1;
        if (!mask.masks()) return multiply_tiled(ctx, p, scratch);
        Gemm update{.m = p.m, .n = p.n, .k = p.k, .x = p.x, .y = p.y, .y_mask = mask};
        update.w = transposed(converted(ctx, operand(a), rank, k, real, scratch));
        update.y.alpha = mask.kept();
        gemm(ctx, update);
    }
};

}  // namespace

void lora_linear(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &xa = args.out[1];
    const View &x = args.in[0], &w = args.in[1], &a = args.in[2], &b = args.in[3];
    const auto& params = args.param<LoraParams>();
    const Mask mask = mask_of(args.in[4], params.dropout);
    const int64_t m = x.shape[0], k = x.shape[1], n = w.shape[0], rank = a.shape[0];
    Product to_xa{.m = m,
                  .n = rank,
                  .k = k,
                  .x = operand(x),
                  .w = operand(a),
                  .y = {.data = xa.data, .dtype = xa.dtype, .row_stride = rank},
                  .real = y.dtype};
    if (!mask.masks()) {
        multiply(ctx, to_xa, Scratch(args.workspace));
    } else {
        Scratch scratch(args.workspace);
        to_xa.w = converted(ctx, operand(a), rank, k, y.dtype, scratch);
        multiply_masked(ctx, to_xa, mask, scratch);
    }
    const LowRank update{.xa = xa.data,
                         .b = b.data,
                         .xa_dtype = xa.dtype,
                         .b_dtype = b.dtype,
                         .rank = static_cast<int>(rank),
                         .scale = params.scaling};
    const Product to_y{.m = m,
                       .n = n,
                       .k = k,
                       .x = operand(x),
                       .w = operand(w),
                       .y = {.data = y.data, .dtype = y.dtype, .row_stride = n, .low_rank = update},
                       .real = y.dtype};
    multiply(ctx, to_y, Scratch(args.workspace));
}

void lora_linear_backward(const CudaContext& ctx, const KernelArgs& args) {
    const Backward backward(ctx, args);
    Scratch scratch(args.workspace);
    const Operand g = backward.low_rank_gradient(scratch);
    backward.gradient_of_b(scratch);
    backward.gradient_of_a(g, scratch);
    if (args.out.size() > 2) backward.gradient_of_x(g, scratch);
}

}  // namespace ggq::cuda
