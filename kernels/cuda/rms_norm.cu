// rms_norm: y = x rstd w, rstd = 1 / sqrt(mean(x^2) + eps), one value of rstd a row (Zhang and Sennrich, 2019).
// Backward, with h = x rstd: dx = rstd (dy w - h mean(dy w h)) (+ sum), dw = sum over rows of dy h.
//
// A block takes a row and keeps its first elements (8192 of 16 bits, 4096 in the backward pass, half as many of f32) in
// registers between the sum and the output; what is beyond is read again, from the cache. dw has a pass of its own:
// sums of kNormChunk rows, column by column, in float, then the chunks in order in double. Floor: the bytes of x and y;
// of dy, x and dx, and with dw of dy and x once more.
#include "kernels/chunks.h"
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/workspace.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kHeld = 4, kHeldBackward = 2;  // parts of a row in a thread's registers

// f(part, at) for the parts that a thread holds, and again(at) for those beyond.
template <int N, int held, typename F, typename Again>
__device__ __forceinline__ void for_each_part(int64_t C, const F& f, const Again& again) {
#pragma unroll
    for (int part = 0; part < held; ++part) {
        const int64_t at = (part * kThreads + static_cast<int>(threadIdx.x)) * N;
        if (at < C) f(part, at);
    }
    for (int64_t at = (held * kThreads + static_cast<int64_t>(threadIdx.x)) * N; at < C; at += kThreads * N) again(at);
}

template <int N>
__device__ __forceinline__ float sum_of_products(const float (&a)[N], const float (&b)[N], float sum) {
#pragma unroll
    for (int i = 0; i < N; ++i) sum += a[i] * b[i];
    return sum;
}

// y[T,C], rstd[T]; x[T,C], w[C]
template <bool wide, typename T, typename W>
__global__ void __launch_bounds__(kThreads) norm_rows(T* y, float* rstd, const T* x, const W* w, int64_t C, float eps) {
    constexpr int N = kWide<T>;
    begin_dependent();
    x += blockIdx.x * C;
    y += blockIdx.x * C;
    float held[kHeld][N], sum = 0;
    for_each_part<N, kHeld>(
        C,
        [&](int part, int64_t at) {
            load_part<wide>(x, at, C, held[part]);
            sum = sum_of_products(held[part], held[part], sum);
        },
        [&](int64_t at) {
            float more[N];
            load_part<wide>(x, at, C, more);
            sum = sum_of_products(more, more, sum);
        });
    sum = block_reduce<Sum, kThreads>(sum);
    const float r = 1 / sqrtf(sum / static_cast<float>(C) + eps);
    if (threadIdx.x == 0) rstd[blockIdx.x] = r;

    const auto write = [&](float(&v)[N], int64_t at) {
        float weight[N];
        load_part<wide>(w, at, C, weight);
#pragma unroll
        for (int i = 0; i < N; ++i) v[i] = v[i] * r * weight[i];
        store_part<wide>(y, at, C, v);
    };
    for_each_part<N, kHeld>(
        C, [&](int part, int64_t at) { write(held[part], at); },
        [&](int64_t at) {
            float more[N];
            load_part<wide>(x, at, C, more);
            write(more, at);
        });
}

// dy w and x at one place of a row.
template <bool wide, int N, typename T, typename W>
__device__ __forceinline__ void load_terms(const T* dy, const T* x, const W* w, int64_t at, int64_t C, float (&dyw)[N],
                                           float (&xs)[N]) {
    float weight[N];
    load_part<wide>(dy, at, C, dyw);
    load_part<wide>(x, at, C, xs);
    load_part<wide>(w, at, C, weight);
#pragma unroll
    for (int i = 0; i < N; ++i) dyw[i] *= weight[i];
}

// dx[T,C]; dy[T,C], x[T,C], w[C], rstd[T]; before[T,C], which dx may be, or null
template <bool wide, typename T, typename W>
__global__ void __launch_bounds__(kThreads)
    norm_rows_backward(T* dx, const T* dy, const T* x, const W* w, const float* rstd, const T* before, int64_t C) {
    constexpr int N = kWide<T>;
    dx += blockIdx.x * C;
    dy += blockIdx.x * C;
    x += blockIdx.x * C;
    if (before) before += blockIdx.x * C;
    float dyw[kHeldBackward][N], xs[kHeldBackward][N], sum = 0;
    for_each_part<N, kHeldBackward>(
        C,
        [&](int part, int64_t at) {
            load_terms<wide>(dy, x, w, at, C, dyw[part], xs[part]);
            sum = sum_of_products(dyw[part], xs[part], sum);
        },
        [&](int64_t at) {
            float a[N], b[N];
            load_terms<wide>(dy, x, w, at, C, a, b);
            sum = sum_of_products(a, b, sum);
        });
    const float r = rstd[blockIdx.x];
    const float mean = block_reduce<Sum, kThreads>(sum) * r / static_cast<float>(C);

    const auto write = [&](float(&a)[N], const float(&b)[N], int64_t at) {
#pragma unroll
        for (int i = 0; i < N; ++i) a[i] = r * (a[i] - b[i] * r * mean);
        if (before) {
            float more[N];
            load_part<wide>(before, at, C, more);
#pragma unroll
            for (int i = 0; i < N; ++i) a[i] += more[i];
        }
        store_part<wide>(dx, at, C, a);
    };
    for_each_part<N, kHeldBackward>(
        C, [&](int part, int64_t at) { write(dyw[part], xs[part], at); },
        [&](int64_t at) {
            float a[N], b[N];
            load_terms<wide>(dy, x, w, at, C, a, b);
            write(a, b, at);
        });
}

constexpr int kColumnThreads = 128;

// sums[chunk][C] = sum over the chunk's rows of dy x rstd; a thread takes N neighbouring columns.
template <bool wide, typename T>
__global__ void __launch_bounds__(kColumnThreads)
    weight_gradient_chunks(float* sums, const T* dy, const T* x, const float* rstd, int64_t n_rows, int64_t C,
                           int64_t n_tiles) {
    constexpr int N = kWide<T>;
    const int64_t chunk = blockIdx.x / n_tiles, tile = blockIdx.x % n_tiles;
    const int64_t at = (tile * kColumnThreads + threadIdx.x) * N;
    if (at >= C) return;
    const int64_t first = chunk * kNormChunk, last = first + kNormChunk < n_rows ? first + kNormChunk : n_rows;
    float sum[N] = {};
#pragma unroll 4
    for (int64_t t = first; t < last; ++t) {
        float a[N], b[N];
        load_part<wide>(dy + t * C, at, C, a);
        load_part<wide>(x + t * C, at, C, b);
        const float r = rstd[t];
#pragma unroll
        for (int i = 0; i < N; ++i) sum[i] += a[i] * (b[i] * r);
    }
    store_part<wide>(sums + chunk * C, at, C, sum);
}

// dw[C] = sum over sums[n_chunks][C]
__global__ void __launch_bounds__(kColumnThreads)
    weight_gradient(float* dw, const float* sums, int64_t n_chunks, int64_t C) {
    const int64_t c = int64_t{blockIdx.x} * kColumnThreads + threadIdx.x;
    if (c >= C) return;
    double total = 0;
#pragma unroll 4
    for (int64_t chunk = 0; chunk < n_chunks; ++chunk) total += static_cast<double>(sums[chunk * C + c]);
    dw[c] = static_cast<float>(total);
}

template <typename T>
void launch_weight_gradient(const CudaContext& ctx, const KernelArgs& args, int64_t n_rows, int64_t C) {
    constexpr int N = kWide<T>;
    const T *dy = args.in[0].as<T>(), *x = args.in[1].as<T>();
    auto* sums = reinterpret_cast<float*>(args.workspace.data());
    const int64_t n_chunks = ceil_div(n_rows, kNormChunk), n_tiles = ceil_div(C, kColumnThreads * N);
    with_bool(wide_rows<N>(dy, C) && wide_rows<N>(x, C), [&](auto wide) {
        launch(ctx, weight_gradient_chunks<wide.value, T>, static_cast<unsigned>(n_chunks * n_tiles), kColumnThreads, 0,
               sums, dy, x, args.in[3].as<float>(), n_rows, C, n_tiles);
    });
    launch(ctx, weight_gradient, static_cast<unsigned>(ceil_div(C, kColumnThreads)), kColumnThreads, 0,
           args.out[1].as<float>(), sums, n_chunks, C);
}

}  // namespace

void rms_norm(const CudaContext& ctx, const KernelArgs& args) {
    const View &x = args.in[0], &w = args.in[1];
    const int64_t C = w.n_elems();
    with_real(x.dtype, [&](auto tag) {
        with_real(w.dtype, [&](auto from) {
            using T = decltype(tag);
            using W = decltype(from);
            constexpr int N = kWide<T>;
            T* y = args.out[0].as<T>();
            with_bool(wide_rows<N>(y, C) && wide_rows<N>(x.as<T>(), C) && wide_rows<N>(w.as<W>(), C), [&](auto wide) {
                launch_dependent(ctx, norm_rows<wide.value, T, W>, static_cast<unsigned>(x.n_elems() / C), kThreads, 0,
                                 y, args.out[1].as<float>(), x.as<T>(), w.as<W>(), C, args.param<RmsNormParams>().eps);
            });
        });
    });
}

void rms_norm_backward(const CudaContext& ctx, const KernelArgs& args) {
    const View &dy = args.in[0], &w = args.in[2];
    const int64_t C = w.n_elems(), n_rows = dy.n_elems() / C;
    with_real(dy.dtype, [&](auto tag) {
        using T = decltype(tag);
        constexpr int N = kWide<T>;
        T* dx = args.out[0].as<T>();
        const T* x = args.in[1].as<T>();
        const T* before = args.in.size() > 4 ? args.in[4].as<T>() : nullptr;
        with_real(w.dtype, [&](auto from) {
            using W = decltype(from);
            const bool all_wide = wide_rows<N>(dx, C) && wide_rows<N>(dy.as<T>(), C) && wide_rows<N>(x, C) &&
                                  wide_rows<N>(w.as<W>(), C) && wide_rows<N>(before, C);
            with_bool(all_wide, [&](auto wide) {
                launch(ctx, norm_rows_backward<wide.value, T, W>, static_cast<unsigned>(n_rows), kThreads, 0, dx,
                       dy.as<T>(), x, w.as<W>(), args.in[3].as<float>(), before, C);
            });
        });
        if (args.out.size() > 1) launch_weight_gradient<T>(ctx, args, n_rows, C);
    });
}

}  // namespace ggq::cuda
