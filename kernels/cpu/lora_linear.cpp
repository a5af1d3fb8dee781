// A linear layer with a low-rank update beside a weight that is frozen (quantized) or not.
//   forward    xa[m,r] = drop(x) a^T;  y[m,n] = x w^T + s xa b^T    (s xa and b are appended to the k of x and w)
//   backward   dxa[m,r] = s dy b;  db[n,r] = s dy^T xa;  da[r,k] = dxa^T drop(x);  dx[m,k] = dy w + mask(dxa a)
// The mask lies over the offsets of x and is made again wherever it is needed; without dropout dxa and a are appended
// to the k of dy and w.
// Floor: 2 m n k FLOP each way, and 2 m r (n + k) forward, twice that backward.
#include "kernels/cpu/product.h"
#include "kernels/cpu/workspace.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

void lora_linear(const CpuContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &xa = args.out[1];
    const View &x = args.in[0], &w = args.in[1], &a = args.in[2], &b = args.in[3];
    const auto& params = args.param<LoraParams>();
    const DropoutMask mask = dropout_mask(args.in[4], params.dropout);
    const int64_t m = x.shape[0], k = x.shape[1], n = w.shape[0], r = a.shape[0];
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        multiply(ctx, Product<T>{xa.as<T>(), m, r, {{operand(x, &mask), operand(a), k}}}, args.workspace);
        Product<T> p{y.as<T>(), m, n, {{operand(x), operand(w), k}}};
        p.terms[p.n_terms++] = {operand(xa), operand(b), r, static_cast<T>(params.scaling)};
        multiply(ctx, p, args.workspace);
    });
}

namespace {

template <typename T>
void input_gradient(const CpuContext& ctx, const KernelArgs& args, const T* dxa, const DropoutMask& mask,
                    std::span<std::byte> workspace) {
    const View &dx = args.out[2], &dy = args.in[0], &w = args.in[2], &a = args.in[3];
    const int64_t m = dy.shape[0], n = dy.shape[1], k = w.shape[1], r = a.shape[0];
    const Term<T> low_rank = {operand(dxa, r), transposed(operand(a)), r};
    Product<T> p{dx.as<T>(), m, k, {{operand(dy), transposed(operand(w)), n}}};
    if (mask.p == 0) p.terms[p.n_terms++] = low_rank;
    multiply(ctx, p, workspace);
    if (mask.p == 0) return;
    Product<T> masked{dx.as<T>(), m, k, {low_rank}};
    masked.mask = &mask;
    multiply(ctx, masked, workspace);
}

}  // namespace

void lora_linear_backward(const CpuContext& ctx, const KernelArgs& args) {
    const View &da = args.out[0], &db = args.out[1];
    const View &dy = args.in[0], &x = args.in[1], &a = args.in[3], &b = args.in[4], &xa = args.in[5];
    const auto& params = args.param<LoraParams>();
    const DropoutMask mask = dropout_mask(args.in[6], params.dropout);
    const int64_t m = dy.shape[0], n = dy.shape[1], k = x.shape[1], r = a.shape[0];
    with_real(da.dtype, [&](auto tag) {
        using T = decltype(tag);
        const T s = static_cast<T>(params.scaling);
        T* dxa = reinterpret_cast<T*>(args.workspace.data());
        const auto rest = args.workspace.subspan(lora_gradient_bytes(m, r, sizeof(T)));
        multiply(ctx, Product<T>{dxa, m, r, {{operand(dy), transposed(operand(b)), n, s}}}, rest);
        multiply(ctx, Product<T>{db.as<T>(), n, r, {{transposed(operand(dy)), transposed(operand(xa)), m, s}}}, rest);
        multiply(ctx, Product<T>{da.as<T>(), r, k, {{transposed(operand(dxa, r)), transposed(operand(x, &mask)), m}}},
                 rest);
        if (args.out.size() > 2) input_gradient(ctx, args, dxa, mask, rest);
    });
}

}  // namespace ggq::cpu::GGQ_ISA
