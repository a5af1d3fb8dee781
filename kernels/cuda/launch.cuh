// Launching: choice of a kernel's instance by dtype, and the launch itself, checked.
#pragma once

#include "kernels/check.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/real.cuh"
#include "kernels/rounding.h"
#include "kernels/view.h"

namespace ggq::cuda {

// Calls f with a value of the element type. The backend has refused every other dtype before.
template <typename F>
void with_real(DType dtype, const F& f) {
    switch (dtype) {
        case DType::f32: return f(float{});
        case DType::f16: return f(f16{});
        case DType::bf16: return f(bf16{});
        default: GGQ_ASSERT(false, name(dtype));
    }
}

// Blocks of `threads` that give each of n items a thread; a kernel with a grid-stride loop needs no more than fill the
// card several times.
inline unsigned blocks_for(const CudaContext& ctx, int64_t n_items, int threads) {
    const int64_t fill = int64_t{32} * ctx.device->n_sms;
    const int64_t blocks = ceil_div(n_items, threads);
    return static_cast<unsigned>(blocks < fill ? blocks : fill);
}

template <typename... Params>
void allow_shared(void (*kernel)(Params...), size_t shared_bytes) {
    if (shared_bytes > 48 * 1024)
        GGQ_CUDA_CHECK(
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)));
}

// A grid of no blocks is no launch.
template <typename... Params, typename... Args>
void launch(const CudaContext& ctx, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
            const Args&... args) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    allow_shared(kernel, shared_bytes);
    kernel<<<grid, block, shared_bytes, ctx.stream>>>(static_cast<Params>(args)...);
    GGQ_CUDA_CHECK(cudaGetLastError());
}

// The same in clusters of blocks, which read each other's shared memory; from capability 9.0 on, elsewhere a cluster is
// one block.
template <typename... Params, typename... Args>
void launch_clusters(const CudaContext& ctx, void (*kernel)(Params...), dim3 grid, dim3 cluster, dim3 block,
                     size_t shared_bytes, const Args&... args) {
    if (cluster.x * cluster.y * cluster.z == 1) return launch(ctx, kernel, grid, block, shared_bytes, args...);
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    allow_shared(kernel, shared_bytes);
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {cluster.x, cluster.y, cluster.z};
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = ctx.stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
    GGQ_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...));
}

}  // namespace ggq::cuda
