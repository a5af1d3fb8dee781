// Telling numbers between the blocks of a launch (messages.h). All blocks have to run at a time, or those that tell
// have low numbers and tell before they listen.
#pragma once

#include "kernels/cuda/messages.h"
#include "kernels/cuda/ptx.cuh"

namespace ggq::cuda {

// The number of this launch, never 0; a thread of each block calls it once. Arrivals of all blocks make a whole, so
// that it is the same for late ones.
__device__ __forceinline__ uint32_t number_of_launch(Messages* messages) {
    const uint64_t share = blockIdx.x == 0 ? 65536 - (gridDim.x - 1) : 1;
    return static_cast<uint32_t>(atomicAdd(reinterpret_cast<unsigned long long*>(&messages->arrivals), share) >> 16) +
           1;
}

__device__ __forceinline__ void tell(Messages* messages, int i, uint32_t launch, float number) {
    const uint64_t message = uint64_t{launch} << 32 | __float_as_uint(number);
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(messages->numbers + i), "l"(message) : "memory");
}

// Number i, as soon as it is told.
__device__ __forceinline__ float hear(const Messages* messages, int i, uint32_t launch) {
    uint64_t message;
    do {
        asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(message) : "l"(messages->numbers + i) : "memory");
    } while (static_cast<uint32_t>(message >> 32) != launch);
    return __uint_as_float(static_cast<uint32_t>(message));
}

}  // namespace ggq::cuda
