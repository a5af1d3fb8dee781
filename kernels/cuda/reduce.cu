// sum, the norm of a flat range, and the factor that clips by it. A block adds a chunk of kSumChunk elements, then one
// block adds the chunks, all in double and in an order that depends on the length alone. Floor: the bytes of x.
#include "kernels/chunks.h"
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/workspace.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kChunkThreads = 256, kTotalThreads = 1024;

struct Value {
    __device__ static double term(float x) { return static_cast<double>(x); }
    __device__ static double total(double sum) { return sum; }
};

struct Square {
    __device__ static double term(float x) { return static_cast<double>(x) * static_cast<double>(x); }
    __device__ static double total(double sum) { return sqrt(sum); }
};

// sums[chunk] = sum of the terms of x[chunk * kSumChunk ...]. Only the last chunk is short, and read element by
// element.
template <bool wide, typename F, typename T>
__global__ void __launch_bounds__(kChunkThreads) add_chunks(double* sums, const T* x, int64_t n) {
    constexpr int N = kWide<T>, parts = static_cast<int>(kSumChunk) / (kChunkThreads * N);
    const int64_t first = blockIdx.x * kSumChunk;
    const bool whole = n - first >= kSumChunk;
    float v[parts][N];
#pragma unroll
    for (int part = 0; part < parts; ++part) {
        const int64_t at = first + (part * kChunkThreads + static_cast<int>(threadIdx.x)) * N;
        if (wide && whole) load_part<wide>(x, at, n, v[part]);
        else load_part<false>(x, at, n, v[part]);
    }
    double sum = 0;
#pragma unroll
    for (int part = 0; part < parts; ++part)
#pragma unroll
        for (int i = 0; i < N; ++i) sum += F::term(v[part][i]);
    sum = block_reduce<Sum, kChunkThreads>(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// y[1] = the total of sums[n]: a thread adds every 1024th, then the threads are added.
template <typename F, typename T>
__global__ void __launch_bounds__(kTotalThreads) add_sums(T* y, const double* sums, int64_t n) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += kTotalThreads) sum += sums[i];
    sum = block_reduce<Sum, kTotalThreads>(sum);
    if (threadIdx.x == 0) *y = from_float<T>(static_cast<float>(F::total(sum)));
}

template <typename F>
void reduce(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0];
    const int64_t n = x.n_elems(), n_chunks = ceil_div(n, kSumChunk);
    auto* sums = reinterpret_cast<double*>(args.workspace.data());
    with_real(x.dtype, [&](auto tag) {
        using T = decltype(tag);
        with_bool(aligned(x.data, 16), [&](auto wide) {
            launch(ctx, add_chunks<wide.value, F, T>, static_cast<unsigned>(n_chunks), kChunkThreads, 0, sums,
                   x.as<T>(), n);
        });
        launch(ctx, add_sums<F, T>, 1, kTotalThreads, 0, y.as<T>(), sums, n_chunks);
    });
}

template <typename T>
__global__ void clip(T* factor, const T* norm_in, float max_norm) {
    const float norm = to_float(*norm_in);
    const float clipped = max_norm > 0 && norm > max_norm ? __fdiv_rn(max_norm, __fadd_rn(norm, 1e-6f)) : 1.0f;
    *factor = from_float<T>(isfinite(norm) ? clipped : nanf(""));
}

}  // namespace

void sum(const CudaContext& ctx, const KernelArgs& args) { reduce<Value>(ctx, args); }

void global_norm(const CudaContext& ctx, const KernelArgs& args) { reduce<Square>(ctx, args); }

void clip_factor(const CudaContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        launch(ctx, clip<T>, 1, 1, 0, args.out[0].as<T>(), args.in[0].as<T>(), args.param<ClipParams>().max_norm);
    });
}

}  // namespace ggq::cuda
