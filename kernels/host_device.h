// Functions that run on the CPU and on a card.
#pragma once

#if defined(__CUDACC__)
#define GGQ_HOST_DEVICE __host__ __device__
#else
#define GGQ_HOST_DEVICE
#endif

// The same, inlined everywhere: kernels for CPUs are compiled for several instruction sets, of which the linker must
// not take one for another's.
#define GGQ_SHARED GGQ_HOST_DEVICE inline __attribute__((always_inline))
