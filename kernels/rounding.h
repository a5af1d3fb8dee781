// Whole parts and multiples, rounded up: of integers that are not negative, in the type that C++ gives their sum.
#pragma once

#include "kernels/host_device.h"

namespace ggq {

// Parts of size `by` that n makes.
template <typename N, typename By>
GGQ_HOST_DEVICE constexpr auto ceil_div(N n, By by) {
    return (n + by - 1) / by;
}

// The least multiple of `step` that is not below n.
template <typename N, typename Step>
GGQ_HOST_DEVICE constexpr auto round_up(N n, Step step) {
    return (n + step - 1) / step * step;
}

}  // namespace ggq
