// cross_entropy: the sum over labelled rows of log-sum-exp(logits) - logit[label], and its gradient
// dlogits = dloss (softmax - onehot). A block takes a row and reads it once; the losses of the rows are then added by
// one block, in double and in an order that depends on T alone. Floor: the bytes of the logits; of the logits and their
// gradient.
#include "kernels/cuda/log_sum_exp.cuh"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

// lse[T], losses[T]; logits[T,V], labels[T]
template <int threads, bool wide, typename T>
__global__ void __launch_bounds__(threads)
    row_losses(float* lse, double* losses, const T* logits, const int32_t* labels, int64_t V) {
    const int32_t label = labels[blockIdx.x];
    const T* x = logits + blockIdx.x * V;
    if (label == kIgnoredLabel) {
        if (threadIdx.x == 0) {
            lse[blockIdx.x] = 0;
            losses[blockIdx.x] = 0;
        }
        return;
    }
    const ExpSum row = exp_sum_of_row<threads, wide>(x, V);
    if (threadIdx.x == 0) {
        const float value = row.top + logf(row.sum);
        lse[blockIdx.x] = value;
        losses[blockIdx.x] = static_cast<double>(value) - static_cast<double>(to_float(x[label]));
    }
}

constexpr int kSumThreads = 1024;

// loss[1] = sum of losses[n]: a thread adds every 1024th, then the threads are added.
__global__ void __launch_bounds__(kSumThreads) add_losses(float* loss, const double* losses, int64_t n) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += kSumThreads) sum += losses[i];
    sum = block_reduce<Sum, kSumThreads>(sum);
    if (threadIdx.x == 0) *loss = static_cast<float>(sum);
}

// dlogits[T,V]; dloss[1], logits[T,V], labels[T], lse[T]
template <int threads, bool wide, typename T, typename D>
__global__ void __launch_bounds__(threads)
    gradient_rows(T* dlogits, const D* dloss, const T* logits, const int32_t* labels, const float* lse, int64_t V) {
    constexpr int N = kWide<T>;
    const int32_t label = labels[blockIdx.x];
    const T* x = logits + blockIdx.x * V;
    T* dx = dlogits + blockIdx.x * V;
    const float d = to_float(*dloss), row_lse = lse[blockIdx.x];
    for (int64_t at = static_cast<int64_t>(threadIdx.x) * N; at < V; at += threads * N) {
        float v[N] = {};
        if (label != kIgnoredLabel) {
            load_part<wide>(x, at, V, v);
#pragma unroll
            for (int i = 0; i < N; ++i) v[i] = d * expf(v[i] - row_lse) - (at + i == label ? d : 0.0f);
        }
        store_part<wide>(dx, at, V, v);
    }
}

}  // namespace

void cross_entropy(const CudaContext& ctx, const KernelArgs& args) {
    const View& logits = args.in[0];
    const int64_t n_rows = logits.shape[0], V = logits.shape[1];
    auto* losses = reinterpret_cast<double*>(args.workspace.data());
    with_real(logits.dtype, [&](auto tag) {
        using T = decltype(tag);
        with_bool(wide_rows<kWide<T>>(logits.as<T>(), V), [&](auto wide) {
            with_row_threads(V, [&](auto threads) {
                launch(ctx, row_losses<threads.value, wide.value, T>, static_cast<unsigned>(n_rows), threads.value, 0,
                       args.out[1].as<float>(), losses, logits.as<T>(), args.in[1].as<int32_t>(), V);
            });
        });
    });
    launch(ctx, add_losses, 1, kSumThreads, 0, args.out[0].as<float>(), losses, n_rows);
}

void cross_entropy_backward(const CudaContext& ctx, const KernelArgs& args) {
    const View &dlogits = args.out[0], &dloss = args.in[0], &logits = args.in[1];
    const int64_t n_rows = logits.shape[0], V = logits.shape[1];
    const auto go = [&](auto tag, auto from, auto wide, auto threads) {
        using T = decltype(tag);
        using D = decltype(from);
        launch(ctx, gradient_rows<threads.value, wide.value, T, D>, static_cast<unsigned>(n_rows), threads.value, 0,
               dlogits.as<T>(), dloss.as<D>(), logits.as<T>(), args.in[2].as<int32_t>(), args.in[3].as<float>(), V);
    };
    with_real(logits.dtype, [&](auto tag) {
        using T = decltype(tag);
        constexpr int N = kWide<T>;
        with_real(dloss.dtype, [&](auto from) {
            with_bool(wide_rows<N>(dlogits.as<T>(), V) && wide_rows<N>(logits.as<T>(), V),
                      [&](auto wide) { with_row_threads(V, [&](auto threads) { go(tag, from, wide, threads); }); });
        });
    });
}

}  // namespace ggq::cuda
