// softmax over the last dimension, y = exp(x - max) / sum, and its gradient dx = y (dy - sum(dy y)).
#include "kernels/cpu/real.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

template <typename T>
void softmax_row(T* y, const T* x, int64_t n) {
    const T top = max_of(x, n);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) {
        y[i] = exp_real(x[i] - top);
        sum += y[i];
    }
    const T factor = 1 / sum;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] *= factor;
}

template <typename T>
void softmax_row_backward(T* dx, const T* dy, const T* y, int64_t n) {
    T dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < n; ++i) dot += dy[i] * y[i];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = y[i] * (dy[i] - dot);
}

// f(offset of the row) for every row of the last dimension, whose length is n.
template <typename F>
void for_each_row(const CpuContext& ctx, const View& x, int64_t n, const F& f) {
    ctx.threads->for_range(x.n_elems() / n, rows_per_task(n), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) f(row * n);
    });
}

}  // namespace

void softmax(const CpuContext& ctx, const KernelArgs& args) {
    const View& x = args.in[0];
    const int64_t n = x.shape[x.shape.rank - 1];
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        for_each_row(ctx, x, n, [&](int64_t at) { softmax_row(args.out[0].as<T>() + at, x.as<T>() + at, n); });
    });
}

void softmax_backward(const CpuContext& ctx, const KernelArgs& args) {
    const View& dy = args.in[0];
    const View& y = args.in[1];
    const int64_t n = dy.shape[dy.shape.rank - 1];
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        for_each_row(ctx, dy, n, [&](int64_t at) {
            softmax_row_backward(args.out[0].as<T>() + at, dy.as<T>() + at, y.as<T>() + at, n);
        });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
