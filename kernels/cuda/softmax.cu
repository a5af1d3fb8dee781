// softmax over the last dimension, y = exp(x - max) / sum, and its gradient dx = y (dy - sum(dy y)). A block takes a
// row and reads it twice, the second time from the cache. Floor: the bytes of x and y; of dy, y and dx.
#include "kernels/cuda/log_sum_exp.cuh"

namespace ggq::cuda {

namespace {

// y, x [n_rows, n]
template <int threads, bool wide, typename T>
__global__ void __launch_bounds__(threads) softmax_rows(T* y, const T* x, int64_t n) {
    constexpr int N = kWide<T>;
    x += blockIdx.x * n;
    y += blockIdx.x * n;
    const ExpSum row = exp_sum_of_row<threads, wide>(x, n);
    const float factor = 1 / row.sum;
    for (int64_t at = static_cast<int64_t>(threadIdx.x) * N; at < n; at += threads * N) {
        float v[N];
        load_part<wide>(x, at, n, v);
#pragma unroll
        for (int i = 0; i < N; ++i) v[i] = expf(v[i] - row.top) * factor;
        store_part<wide>(y, at, n, v);
    }
}

// dx, dy, y [n_rows, n]
template <int threads, bool wide, typename T>
__global__ void __launch_bounds__(threads) softmax_rows_backward(T* dx, const T* dy, const T* y, int64_t n) {
    constexpr int N = kWide<T>;
    dx += blockIdx.x * n;
    dy += blockIdx.x * n;
    y += blockIdx.x * n;
    float dot = 0;
    for (int64_t at = static_cast<int64_t>(threadIdx.x) * N; at < n; at += threads * N) {
        float a[N], b[N];
        load_part<wide>(dy, at, n, a);
        load_part<wide>(y, at, n, b);
#pragma unroll
        for (int i = 0; i < N; ++i) dot += a[i] * b[i];
    }
    dot = block_reduce<Sum, threads>(dot);
    for (int64_t at = static_cast<int64_t>(threadIdx.x) * N; at < n; at += threads * N) {
        float a[N], b[N];
        load_part<wide>(dy, at, n, a);
        load_part<wide>(y, at, n, b);
#pragma unroll
        for (int i = 0; i < N; ++i) a[i] = b[i] * (a[i] - dot);
        store_part<wide>(dx, at, n, a);
    }
}

}  // namespace

void softmax(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0];
    const int64_t n = x.shape[x.shape.rank - 1];
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        constexpr int N = kWide<T>;
        with_bool(wide_rows<N>(y.as<T>(), n) && wide_rows<N>(x.as<T>(), n), [&](auto wide) {
            with_row_threads(n, [&](auto threads) {
                launch(ctx, softmax_rows<threads.value, wide.value, T>, static_cast<unsigned>(x.n_elems() / n),
                       threads.value, 0, y.as<T>(), x.as<T>(), n);
            });
        });
    });
}

void softmax_backward(const CudaContext& ctx, const KernelArgs& args) {
    const View &dx = args.out[0], &dy = args.in[0], &y = args.in[1];
    const int64_t n = dy.shape[dy.shape.rank - 1];
    with_real(dx.dtype, [&](auto tag) {
        using T = decltype(tag);
        constexpr int N = kWide<T>;
        const bool all_wide = wide_rows<N>(dx.as<T>(), n) && wide_rows<N>(dy.as<T>(), n) && wide_rows<N>(y.as<T>(), n);
        with_bool(all_wide, [&](auto wide) {
            with_row_threads(n, [&](auto threads) {
                launch(ctx, softmax_rows_backward<threads.value, wide.value, T>,
                       static_cast<unsigned>(dy.n_elems() / n), threads.value, 0, dx.as<T>(), dy.as<T>(), y.as<T>(), n);
            });
        });
    });
}

}  // namespace ggq::cuda
