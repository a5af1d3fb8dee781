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

Mask mask_of(const View& rng, const DropoutParams& params) { return {rng.as<const int64_t>(), params.site, params.p}; }

// y = mask(x) w^T times the scale of what stays; y has few columns. With y_cols w is in halves.
void multiply_masked(const CudaContext& ctx, const Product& p, const Mask& mask, Scratch scratch, int64_t y_cols = 0) {
    Gemm g{p.m, p.n, p.k, p.x, p.w, p.y, mask};
    g.y.alpha *= mask.kept();
    g.splits = low_rank_splits(p.m, p.n, p.k, *ctx.device);
    g.halves = y_cols > 0;
    g.y_cols = y_cols;
    if (g.splits > 1 || g.halves) g.partial = static_cast<float*>(scratch.take(g.splits * p.m * p.n * 4));
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

    Output out(int i, int64_t stride) const { return {args.out[i].data, args.out[i].dtype, stride}; }

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
        Output to{g, DType::f32, stride};
        to.alpha = scaling;
        const Product p{m, rank, n, operand(dy), transposed(operand(b)), to, real};
        m <= kFewRows ? few_rows(ctx, p, scratch) : multiply_tiled(ctx, p, scratch);
    }

    void gradient_of_b(Scratch scratch) const {
        Output to = out(1, rank);
        to.alpha = scaling;
        multiply_tiled(ctx, {n, rank, m, transposed(operand(dy)), transposed(operand(xa)), to, real}, scratch);
    }

    // da^T = mask(x)^T g, so that x is the left factor.
    void gradient_of_a(const Operand& g, Scratch scratch) const {
        Output to = out(0, 1);
        to.col_stride = k;
        const Product p{k, in_halves() ? g.row_stride : rank, m, transposed(operand(x)), transposed(g), to, real};
        multiply_masked(ctx, p, mask, scratch, in_halves() ? rank : 0);
    }

    void gradient_of_x(const Operand& g, Scratch scratch) const {
        Output to = out(2, k);
        multiply_tiled(ctx, {m, k, n, operand(dy), transposed(operand(w)), to, real}, scratch);
        to.beta = 1;
        if (mask.p == 0) return multiply_tiled(ctx, {m, k, rank, g, transposed(operand(a)), to, real}, scratch);
        to.alpha = mask.kept();
        Gemm update{m, k, rank, g, transposed(converted(ctx, operand(a), rank, k, real, scratch)), to};
        update.y_mask = mask;
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
    const Output to_xa{xa.data, xa.dtype, rank};
    if (mask.p == 0) {
        multiply(ctx, {m, rank, k, operand(x), operand(a), to_xa, y.dtype}, Scratch(args.workspace));
    } else {
        Scratch scratch(args.workspace);
        const Operand real_a = converted(ctx, operand(a), rank, k, y.dtype, scratch);
        multiply_masked(ctx, {m, rank, k, operand(x), real_a, to_xa, y.dtype}, mask, scratch);
    }
    Output to_y{y.data, y.dtype, n};
    to_y.low_rank = {xa.data, b.data, xa.dtype, b.dtype, static_cast<int>(rank), params.scaling};
    multiply(ctx, {m, n, k, operand(x), operand(w), to_y, y.dtype}, Scratch(args.workspace));
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
