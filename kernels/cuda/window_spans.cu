// Spans of keys for layers with a sliding window. Floor: a launch.
#include "kernels/cuda/launch.cuh"
#include "kernels/params.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256;

// y[T,2], spans[T,2]
__global__ void __launch_bounds__(kThreads) keep_last(int2* y, const int2* spans, int64_t n_queries, int most) {
    begin_dependent();
    const int64_t t = blockIdx.x * int64_t{kThreads} + threadIdx.x;
    if (t >= n_queries) return;
    const int2 span = spans[t];
    y[t] = {max(span.x, span.y - most), span.y};
}

}  // namespace

void window_spans(const CudaContext& ctx, const KernelArgs& args) {
    const int64_t n = args.out[0].shape[0];
    launch_dependent(ctx, keep_last, static_cast<unsigned>(ceil_div(n, kThreads)), kThreads, 0,
                     reinterpret_cast<int2*>(args.out[0].as<int32_t>()),
                     reinterpret_cast<const int2*>(args.in[0].as<int32_t>()), n, args.param<WindowParams>().n_keys);
}

}  // namespace ggq::cuda
