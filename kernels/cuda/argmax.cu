// The first of the largest elements of a row, -1 where one is not finite. A row is cut into kArgmaxParts parts, a block
// each; a warp then finds the row's largest among theirs. Floor: the bytes of x.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/workspace.h"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256, kParts = static_cast<int>(kArgmaxParts);

struct Best {
    float value;
    int at;  // -1: something is not finite
};

struct Better {
    __device__ __forceinline__ static Best of(Best a, Best b) {
        if (a.at < 0 || b.at < 0) return {0, -1};
        return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
    }
};

__device__ __forceinline__ Best best_of_warp(Best best) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        const Best other{__shfl_xor_sync(0xffffffffu, best.value, distance),
                         __shfl_xor_sync(0xffffffffu, best.at, distance)};
        best = Better::of(best, other);
    }
    return best;
}

// Block (part, row) of x[T,V], of which the first n elements of a row count.
template <typename T>
__global__ void __launch_bounds__(kThreads) best_of_parts(Best* parts, const T* x, int64_t V, int64_t n) {
    __shared__ Best of_warp[kThreads / kWarp];
    begin_dependent();
    const int64_t each = ceil_div(n, int64_t{kParts}), first = blockIdx.x * each;
    const int64_t last = first + each < n ? first + each : n;
    Best best{-INFINITY, INT_MAX};
    for (int64_t i = first + threadIdx.x; i < last; i += kThreads) {
        const float value = to_float(x[blockIdx.y * V + i]);
        best = Better::of(best, {value, isfinite(value) ? static_cast<int>(i) : -1});
    }
    best = best_of_warp(best);
    if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = best;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int w = 1; w < kThreads / kWarp; ++w) best = Better::of(best, of_warp[w]);
    parts[blockIdx.y * kParts + blockIdx.x] = best;
}

__global__ void __launch_bounds__(kWarp) best_of_rows(int32_t* id, const Best* parts) {
    begin_dependent();
    Best best{-INFINITY, INT_MAX};
    for (int i = static_cast<int>(threadIdx.x); i < kParts; i += kWarp)
        best = Better::of(best, parts[blockIdx.x * kParts + i]);
    best = best_of_warp(best);
    if (threadIdx.x == 0) id[blockIdx.x] = best.at;
}

}  // namespace

void argmax(const CudaContext& ctx, const KernelArgs& args) {
    const View& x = args.in[0];
    auto* parts = reinterpret_cast<Best*>(args.workspace.data());
    const auto n_rows = static_cast<unsigned>(x.shape[0]);
    with_real(x.dtype, [&](auto tag) {
        using T = decltype(tag);
        launch_dependent(ctx, best_of_parts<T>, dim3(kParts, n_rows), kThreads, 0, parts, x.as<T>(), x.shape[1],
                         args.param<ArgmaxParams>().n);
    });
    launch_dependent(ctx, best_of_rows, n_rows, kWarp, 0, args.out[0].as<int32_t>(), parts);
}

}  // namespace ggq::cuda
