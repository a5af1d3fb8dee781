// Functions that run on the CPU and on a card.
#pragma once

#if defined(__CUDACC__)
#define GGQ_HOST_DEVICE __host__ __device__
#else
#define GGQ_HOST_DEVICE
#endif
