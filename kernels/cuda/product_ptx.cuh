// What products need beyond attention_ptx.cuh: copies of part of 16 bytes, and loads of weights that are read once.
#pragma once

#include "kernels/cuda/attention_ptx.cuh"

namespace ggq::cuda {

// The first `bytes` (0 to 16) of 16 bytes, then zeros. `from` is aligned to 16 and may be read even for 0 bytes;
// nothing beyond `bytes` is read.
__device__ __forceinline__ void copy_async_part(void* to, const void* from, int bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
#else
    if (bytes == 16) {
        *static_cast<uint4*>(to) = *static_cast<const uint4*>(from);
        return;
    }
    const auto* halves = static_cast<const uint16_t*>(from);
    for (int i = 0; i < 8; ++i) static_cast<uint16_t*>(to)[i] = 2 * i < bytes ? halves[i] : uint16_t{0};
#endif
}

// Weights pass through once: they leave no trace in L1, where x stays, and L2 is asked for whole lines.
__device__ __forceinline__ uint32_t load_streamed(const uint32_t* from) {
    uint32_t v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.u32 %0, [%1];" : "=r"(v) : "l"(from));
    return v;
}

__device__ __forceinline__ uint2 load_streamed(const uint2* from) {
    uint2 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(from));
    return v;
}

__device__ __forceinline__ uint4 load_streamed(const uint4* from) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from));
    return v;
}

}  // namespace ggq::cuda
