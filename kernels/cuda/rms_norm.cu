// rms_norm: y = x rstd w, rstd = 1 / sqrt(mean(x^2) + eps), one value of rstd a row (Zhang and Sennrich, 2019).
// Backward, with h = x rstd: dx = rstd (dy w - h mean(dy w h)) (+ sum), dw = sum over rows of dy h.
//
// A block takes a row, asks for all of it at once and keeps it as it came between the sum and the output: up to 8192
// elements of 16 bits, half as many of f32; what is beyond is read again, from the cache. dw has a pass of its own:
// sums of kNormChunk rows, column by column, in float, then the chunks in order in double. Floor: the bytes of x and y;
// of dy, x and dx (and sum), and with dw of dy and x once more.
#include "kernels/chunks.h"
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/workspace.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

// Where part `part` of a thread begins.
template <int threads, int N>
__device__ __forceinline__ int64_t place_of(int64_t part) {
    return (part * threads + static_cast<int64_t>(threadIdx.x)) * N;
}

// y[T,C], rstd[T]; x[T,C], w[C]. A thread holds `held` parts.
template <int threads, int held, bool wide, typename T, typename W>
__global__ void __launch_bounds__(threads) norm_rows(T* y, float* rstd, const T* x, const W* w, int64_t C, float eps) {
    constexpr int N = kWide<T>;
    begin_dependent();
    x += blockIdx.x * C;
    y += blockIdx.x * C;
    Held<T, N> xs[held];
    Held<W, N> ws[held];
#pragma unroll
    for (int i = 0; i < held; ++i) xs[i].template read<wide>(x, place_of<threads, N>(i), C);
#pragma unroll
    for (int i = 0; i < held; ++i) ws[i].template read<wide>(w, place_of<threads, N>(i), C);
    float sum = 0;
    const auto add = [&](const Held<T, N>& v) {
#pragma unroll
        for (int i = 0; i < N; ++i) sum += v[i] * v[i];
    };
#pragma unroll
    for (int i = 0; i < held; ++i) add(xs[i]);
    for (int64_t i = held, at; (at = place_of<threads, N>(i)) < C; ++i) {
        Held<T, N> more;
        more.template read<wide>(x, at, C);
        add(more);
    }
    const float r = 1 / sqrtf(block_reduce<Sum, threads>(sum) / static_cast<float>(C) + eps);
    if (threadIdx.x == 0) rstd[blockIdx.x] = r;

    const auto write = [&](const Held<T, N>& v, const Held<W, N>& weight, int64_t at) {
        float out[N];
#pragma unroll
        for (int i = 0; i < N; ++i) out[i] = v[i] * r * weight[i];
        if (at < C) store_part<wide>(y, at, C, out);
    };
#pragma unroll
    for (int i = 0; i < held; ++i) write(xs[i], ws[i], place_of<threads, N>(i));
    for (int64_t i = held, at; (at = place_of<threads, N>(i)) < C; ++i) {
        Held<T, N> more;
        Held<W, N> weight;
        more.template read<wide>(x, at, C);
        weight.template read<wide>(w, at, C);
        write(more, weight, at);
    }
}

// What the gradient reads at one place of a row.
template <typename T, typename W>
struct Terms {
    static constexpr int N = kWide<T>;
    Held<T, N> dy, x, before;
    Held<W, N> w;

    template <bool wide>
    __device__ __forceinline__ void read(const T* dys, const T* xs, const T* befores, const W* ws, int64_t at,
                                         int64_t C) {
        dy.template read<wide>(dys, at, C);
        x.template read<wide>(xs, at, C);
        w.template read<wide>(ws, at, C);
        if (befores) before.template read<wide>(befores, at, C);
    }
    __device__ __forceinline__ float add_to(float sum) const {
#pragma unroll
        for (int i = 0; i < N; ++i) sum += dy[i] * w[i] * x[i];
        return sum;
    }
    __device__ __forceinline__ void gradient(float r, float mean, float (&dx)[N]) const {
#pragma unroll
        for (int i = 0; i < N; ++i) dx[i] = r * (dy[i] * w[i] - x[i] * r * mean) + before[i];
    }
};

// dx[T,C]; dy[T,C], x[T,C], w[C], rstd[T]; before[T,C], which dx may be, or null
template <int threads, int held, bool wide, typename T, typename W>
__global__ void __launch_bounds__(threads)
    norm_rows_backward(T* dx, const T* dy, const T* x, const W* w, const float* rstd, const T* before, int64_t C) {
    constexpr int N = kWide<T>;
    begin_dependent();
    dx += blockIdx.x * C;
    dy += blockIdx.x * C;
    x += blockIdx.x * C;
    if (before) before += blockIdx.x * C;
    Terms<T, W> terms[held];
#pragma unroll
    for (int i = 0; i < held; ++i) terms[i].template read<wide>(dy, x, before, w, place_of<threads, N>(i), C);
    const float r = rstd[blockIdx.x];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < held; ++i) sum = terms[i].add_to(sum);
    for (int64_t i = held, at; (at = place_of<threads, N>(i)) < C; ++i) {
        Terms<T, W> more;
        more.template read<wide>(dy, x, nullptr, w, at, C);
        sum = more.add_to(sum);
    }
    const float mean = block_reduce<Sum, threads>(sum) * r / static_cast<float>(C);

    const auto write = [&](const Terms<T, W>& t, int64_t at) {
        float out[N];
        t.gradient(r, mean, out);
        if (at < C) store_part<wide>(dx, at, C, out);
    };
#pragma unroll
    for (int i = 0; i < held; ++i) write(terms[i], place_of<threads, N>(i));
    for (int64_t i = held, at; (at = place_of<threads, N>(i)) < C; ++i) {
        Terms<T, W> more;
        more.template read<wide>(dy, x, before, w, at, C);
        write(more, at);
    }
}

template <int n>
using Int = std::integral_constant<int, n>;

// Calls f with the threads of a block and the parts that each holds of rows of C elements.
template <int N, typename F>
void with_row_parts(int64_t C, const F& f) {
    if (C <= 128 * N) f(Int<128>{}, Int<1>{});
    else if (C <= 256 * N) f(Int<128>{}, Int<2>{});
    else if (C <= 512 * N) f(Int<128>{}, Int<4>{});
    else f(Int<256>{}, Int<4>{});
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
    const auto n_rows = static_cast<unsigned>(x.n_elems() / C);
    const auto go = [&](auto tag, auto from, auto wide) {
        using T = decltype(tag);
        using W = decltype(from);
        with_row_parts<kWide<T>>(C, [&](auto threads, auto held) {
            launch_dependent(ctx, norm_rows<threads.value, held.value, wide.value, T, W>, n_rows, threads.value, 0,
                             args.out[0].as<T>(), args.out[1].as<float>(), x.as<T>(), w.as<W>(), C,
                             args.param<RmsNormParams>().eps);
        });
    };
    with_real(x.dtype, [&](auto tag) {
        with_real(w.dtype, [&](auto from) {
            using T = decltype(tag);
            using W = decltype(from);
            constexpr int N = kWide<T>;
            const bool wide =
                wide_rows<N>(args.out[0].as<T>(), C) && wide_rows<N>(x.as<T>(), C) && wide_rows<N>(w.as<W>(), C);
            with_bool(wide, [&](auto is_wide) { go(tag, from, is_wide); });
        });
    });
}

void rms_norm_backward(const CudaContext& ctx, const KernelArgs& args) {
    const View &dy = args.in[0], &w = args.in[2];
    const int64_t C = w.n_elems(), n_rows = dy.n_elems() / C;
    const auto go = [&](auto tag, auto from, auto wide) {
        using T = decltype(tag);
        using W = decltype(from);
        const T* before = args.in.size() > 4 ? args.in[4].as<T>() : nullptr;
        with_row_parts<kWide<T>>(C, [&](auto threads, auto held) {
            launch_dependent(ctx, norm_rows_backward<threads.value, held.value, wide.value, T, W>,
                             static_cast<unsigned>(n_rows), threads.value, 0, args.out[0].as<T>(), dy.as<T>(),
                             args.in[1].as<T>(), w.as<W>(), args.in[3].as<float>(), before, C);
        });
    };
    with_real(dy.dtype, [&](auto tag) {
        using T = decltype(tag);
        constexpr int N = kWide<T>;
        const T* before = args.in.size() > 4 ? args.in[4].as<T>() : nullptr;
        with_real(w.dtype, [&](auto from) {
            using W = decltype(from);
            const bool wide = wide_rows<N>(args.out[0].as<T>(), C) && wide_rows<N>(dy.as<T>(), C) &&
                              wide_rows<N>(args.in[1].as<T>(), C) && wide_rows<N>(w.as<W>(), C) &&
                              wide_rows<N>(before, C);
            with_bool(wide, [&](auto is_wide) { go(tag, from, is_wide); });
        });
        if (args.out.size() > 1) launch_weight_gradient<T>(ctx, args, n_rows, C);
    });
}

}  // namespace ggq::cuda
