// cross_entropy: the sum over labelled rows of log-sum-exp(logits) - logit[label], and its gradient
// dlogits = dloss (softmax - onehot). The row terms are added in order, in double.
#include "kernels/cpu/real.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

template <typename T>
T log_sum_exp(const T* x, int64_t n) {
    const T top = max_of(x, n);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += exp_real(x[i] - top);
    return top + static_cast<T>(__builtin_log(static_cast<double>(sum)));
}

template <typename T>
void gradient_row(T* dx, const T* x, int64_t n, int32_t label, T lse, T dloss) {
    if (label == kIgnoredLabel) {
        std::memset(dx, 0, static_cast<size_t>(n) * sizeof(T));
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = dloss * exp_real(x[i] - lse);
    dx[label] -= dloss;
}

}  // namespace

void cross_entropy(const CpuContext& ctx, const KernelArgs& args) {
    const View& logits = args.in[0];
    const auto* labels = args.in[1].as<int32_t>();
    const int64_t n_rows = logits.shape[0], V = logits.shape[1];
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        const T* x = logits.as<T>();
        T* lse = args.out[1].as<T>();
        ctx.threads->for_range(n_rows, rows_per_task(V), [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; ++t)
                lse[t] = labels[t] == kIgnoredLabel ? T{0} : log_sum_exp(x + t * V, V);
        });
        double loss = 0;
        for (int64_t t = 0; t < n_rows; ++t)
            if (labels[t] != kIgnoredLabel)
                loss += static_cast<double>(lse[t]) - static_cast<double>(x[t * V + labels[t]]);
        *args.out[0].as<T>() = static_cast<T>(loss);
    });
}

void cross_entropy_backward(const CpuContext& ctx, const KernelArgs& args) {
    const View &given = args.in[0], &logits = args.in[1];
    const auto* labels = args.in[2].as<int32_t>();
    const int64_t n_rows = logits.shape[0], V = logits.shape[1];
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        T dloss = 0;
        with_float(given.dtype, [&](auto from) { dloss = convert<T>(*given.as<decltype(from)>()); });
        const T* lse = args.in[3].as<T>();
        ctx.threads->for_range(n_rows, rows_per_task(V), [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; ++t)
                gradient_row(args.out[0].as<T>() + t * V, logits.as<T>() + t * V, V, labels[t], lse[t], dloss);
        });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
