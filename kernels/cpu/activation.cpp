// silu(x) = x s(x) with s(x) = 1 / (1 + exp(-x)), swiglu(gate, up) = silu(gate) * up, and their gradients:
// silu'(x) = s (1 + x (1 - s)).
#include "kernels/cpu/real.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

template <typename T>
GGQ_INLINE T sigmoid(T x) {
    return 1 / (1 + exp_real(-x));
}

template <typename T>
GGQ_INLINE T silu_slope(T x, T s) {
    return s * (1 + x * (1 - s));
}

}  // namespace

void silu(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        T* y = args.out[0].as<T>();
        const T* x = args.in[0].as<T>();
        for_each_elem(ctx, args.out[0].n_elems(), [=](int64_t i) { y[i] = x[i] * sigmoid(x[i]); });
    });
}

void silu_backward(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        T* dx = args.out[0].as<T>();
        const T* dy = args.in[0].as<T>();
        const T* x = args.in[1].as<T>();
        for_each_elem(ctx, args.out[0].n_elems(), [=](int64_t i) { dx[i] = dy[i] * silu_slope(x[i], sigmoid(x[i])); });
    });
}

void swiglu(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        T* y = args.out[0].as<T>();
        const T* gate = args.in[0].as<T>();
        const T* up = args.in[1].as<T>();
        for_each_elem(ctx, args.out[0].n_elems(), [=](int64_t i) { y[i] = gate[i] * sigmoid(gate[i]) * up[i]; });
    });
}

void swiglu_backward(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        T* dgate = args.out[0].as<T>();
        T* dup = args.out[1].as<T>();
        const T* dy = args.in[0].as<T>();
        const T* gate = args.in[1].as<T>();
        const T* up = args.in[2].as<T>();
        for_each_elem(ctx, args.out[0].n_elems(), [=](int64_t i) {
            const T d = dy[i], g = gate[i], u = up[i], s = sigmoid(g);
            dgate[i] = d * u * silu_slope(g, s);
            dup[i] = d * g * s;
        });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
