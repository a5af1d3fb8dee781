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

// What a kernel that launch_dependent() starts does first: the next such kernel may start now, and this one goes on
// once all that came before it on the stream is done and to be seen. Between the two a kernel may read what no kernel
// writes, such as weights. On cards before Hopper there is nothing to say.
__device__ __forceinline__ void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void begin_dependent() {
    let_next_start();
    wait_for_previous();
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

template <unsigned n, typename... Params, typename... Args>
void launch_with(const CudaContext& ctx, cudaLaunchAttribute (&attributes)[n], void (*kernel)(Params...), dim3 grid,
                 dim3 block, size_t shared_bytes, const Args&... args) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    allow_shared(kernel, shared_bytes);
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = ctx.stream;
    config.attrs = attributes;
    config.numAttrs = n;
    GGQ_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...));
}

inline cudaLaunchAttribute clustered(dim3 cluster) {
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {cluster.x, cluster.y, cluster.z};
    return attribute;
}

inline cudaLaunchAttribute early() {
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    return attribute;
}

// The same in clusters of blocks, which read each other's shared memory; from capability 9.0 on, elsewhere a cluster is
// one block.
template <typename... Params, typename... Args>
void launch_clusters(const CudaContext& ctx, void (*kernel)(Params...), dim3 grid, dim3 cluster, dim3 block,
                     size_t shared_bytes, const Args&... args) {
    if (cluster.x * cluster.y * cluster.z == 1) return launch(ctx, kernel, grid, block, shared_bytes, args...);
    cudaLaunchAttribute attributes[] = {clustered(cluster)};
    launch_with(ctx, attributes, kernel, grid, block, shared_bytes, args...);
}

// Whether the code that the device runs is Hopper's or a later one, in which wait_for_previous() waits.
inline bool starts_early(const CudaContext& ctx) {
#if defined(__CUDA_ARCH_LIST__)
    for (int arch : {__CUDA_ARCH_LIST__})
        if (arch >= 900 && arch <= 10 * ctx.device->capability) return true;
#endif
    return false;
}

// The same for a kernel that calls wait_for_previous(): its blocks may start before the kernel in front of it has ended
// (programmatic dependent launch), which hides the gap between two kernels, in recordings too.
template <typename... Params, typename... Args>
void launch_dependent(const CudaContext& ctx, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                      const Args&... args) {
    if (!starts_early(ctx)) return launch(ctx, kernel, grid, block, shared_bytes, args...);
    cudaLaunchAttribute attributes[] = {early()};
    launch_with(ctx, attributes, kernel, grid, block, shared_bytes, args...);
}

// Both, on Hopper.
template <typename... Params, typename... Args>
void launch_clusters_dependent(const CudaContext& ctx, void (*kernel)(Params...), dim3 grid, dim3 cluster, dim3 block,
                               size_t shared_bytes, const Args&... args) {
    cudaLaunchAttribute attributes[] = {clustered(cluster), early()};
    launch_with(ctx, attributes, kernel, grid, block, shared_bytes, args...);
}

}  // namespace ggq::cuda
