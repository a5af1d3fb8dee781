// A linear layer with a low-rank update beside a weight that is frozen (quantized) or not.
//   down       xa[m,r] = mask(x) a^T, for each a of those that share x, with a mask of its own
//   linear     y[m,n] = x w^T + s xa b^T (+ sum)         (s xa and b are appended to the k of x and w)
//   backward   dxa[m,r] = s dy b;  db[n,r] = s dy^T xa;  da[r,k] = dxa^T mask(x);  dx[m,k] = sum + mask(dxa a)
// A mask lies over the offsets of x and is made again wherever it is needed.
// Floor: 2 m n k FLOP, and 2 m r (n + k) forward, twice that backward.
#include "kernels/cpu/product.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

// f(i, mask, T{}) for each of the n linears that share x, T being the element type.
template <typename F>
void for_each_mask(const KernelArgs& args, size_t n, DType real, const F& f) {
    DropoutParams params = args.param<DropoutParams>();
    for (size_t i = 0; i < n; ++i, ++params.site) {
        const DropoutMask mask = dropout_mask(args.in[1], params);
        with_real(real, [&](auto tag) { f(i, mask, tag); });
    }
}

}  // namespace

void lora_down(const CpuContext& ctx, const KernelArgs& args) {
    const View& x = args.in[0];
    for_each_mask(args, args.out.size(), args.out[0].dtype, [&](size_t i, const DropoutMask& mask, auto tag) {
        using T = decltype(tag);
        const View &xa = args.out[i], &a = args.in[2 + i];
        multiply(ctx, Product<T>{xa.as<T>(), x.shape[0], a.shape[0], {{operand(x, &mask), operand(a), x.shape[1]}}},
                 args.workspace);
    });
}

void lora_down_backward(const CpuContext& ctx, const KernelArgs& args) {
    const View& x = args.in[0];
    for_each_mask(args, args.out.size(), args.out[0].dtype, [&](size_t i, const DropoutMask& mask, auto tag) {
        using T = decltype(tag);
        const View &da = args.out[i], &dxa = args.in[2 + i];
        multiply(ctx,
                 Product<T>{da.as<T>(),
                            da.shape[0],
                            da.shape[1],
                            {{transposed(operand(dxa)), transposed(operand(x, &mask)), x.shape[0]}}},
                 args.workspace);
    });
}

void lora_down_input_gradient(const CpuContext& ctx, const KernelArgs& args) {
    const View& dx = args.out[0];
    const size_t n = (args.in.size() - 2) / 2;
    begin_with(ctx, args.in[0], dx);
    for_each_mask(args, n, dx.dtype, [&](size_t i, const DropoutMask& mask, auto tag) {
        using T = decltype(tag);
        const View &a = args.in[2 + i], &dxa = args.in[2 + n + i];
        Product<T> p{dx.as<T>(), dx.shape[0], dx.shape[1], {{operand(dxa), transposed(operand(a)), a.shape[0]}}};
        p.add = true;
        p.mask = mask.p > 0 ? &mask : nullptr;
        multiply(ctx, p, args.workspace);
    });
}

void lora_linear(const CpuContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0], &w = args.in[1], &xa = args.in[2], &b = args.in[3];
    if (args.in.size() > 4) begin_with(ctx, args.in[4], y);
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        Product<T> p{y.as<T>(), x.shape[0], w.shape[0], {{operand(x), operand(w), x.shape[1]}}};
        p.terms[p.n_terms++] = {operand(xa), operand(b), xa.shape[1], static_cast<T>(args.param<ScaleParams>().factor)};
        p.add = args.in.size() > 4;
        multiply(ctx, p, args.workspace);
    });
}

void lora_linear_backward(const CpuContext& ctx, const KernelArgs& args) {
    const View &dxa = args.out[0], &db = args.out[1], &dy = args.in[0], &xa = args.in[1], &b = args.in[2];
    const int64_t m = dy.shape[0], n = dy.shape[1], r = xa.shape[1];
    with_real(db.dtype, [&](auto tag) {
        using T = decltype(tag);
        const T s = static_cast<T>(args.param<ScaleParams>().factor);
        multiply(ctx, Product<T>{dxa.as<T>(), m, r, {{operand(dy), transposed(operand(b)), n, s}}}, args.workspace);
        multiply(ctx, Product<T>{db.as<T>(), n, r, {{transposed(operand(dy)), transposed(operand(xa)), m, s}}},
                 args.workspace);
    });
}

}  // namespace ggq::cpu::GGQ_ISA
