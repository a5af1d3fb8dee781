// Bytes of the workspace that what the rows of plain kernels in composed.h hand on to one another takes, without what
// these kernels want themselves. `real_bytes` is the size of the computing type.
#pragma once

#include <cstdint>

#include "kernels/rounding.h"

namespace ggq {

constexpr int64_t composed_bytes(int64_t bytes) { return round_up(bytes, int64_t{256}); }

// x[T,C] normalized and rstd[T].
constexpr int64_t composed_norm_bytes(int64_t T, int64_t C, int64_t real_bytes) {
    return composed_bytes(T * C * real_bytes) + composed_bytes(T * 8);
}

// q[T,H,D] and k[T,G,D] rotated, and the log-sum-exp of attention.
constexpr int64_t composed_attention_bytes(int64_t T, int64_t H, int64_t G, int64_t D, int64_t real_bytes) {
    return composed_bytes(T * H * D * real_bytes) + composed_bytes(T * G * D * real_bytes) + composed_bytes(T * H * 8);
}

}  // namespace ggq
