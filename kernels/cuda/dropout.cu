// y = x where the mask keeps an element, scaled by 1 / (1 - p), and 0 elsewhere; dropout_mask.cuh defines the mask. A
// group of 8 elements shares a Philox. Floor: the bytes of x and y.
#include "kernels/cuda/dropout_mask.cuh"
#include "kernels/cuda/row.cuh"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

template <bool wide, typename T>
__global__ void __launch_bounds__(kMapThreads)
    drop(T* y, const T* x, const int64_t* rng, DropoutScale scale, int64_t n) {
    constexpr int N = kWide<T>;
    const DropoutMask mask(rng, scale);
    const int64_t step = int64_t{gridDim.x} * kMapThreads * N;
    for (int64_t i = (int64_t{blockIdx.x} * kMapThreads + threadIdx.x) * N; i < n; i += step) {
        float v[N];
        if (wide && i + N <= n) load_part<wide>(x, i, n, v);
        else load_part<false>(x, i, n, v);
        mask.apply(i, v);
        if (wide && i + N <= n) store_part<wide>(y, i, n, v);
        else store_part<false>(y, i, n, v);
    }
}

}  // namespace

void dropout(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0];
    const DropoutScale scale(args.param<DropoutParams>());
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        const unsigned blocks = blocks_for(ctx, ceil_div(y.n_elems(), kWide<T>), kMapThreads);
        with_bool(aligned(y.data, 16) && aligned(x.data, 16), [&](auto wide) {
            launch(ctx, drop<wide.value, T>, blocks, kMapThreads, 0, y.as<T>(), x.as<T>(), args.in[1].as<int64_t>(),
                   scale, y.n_elems());
        });
    });
}

}  // namespace ggq::cuda
