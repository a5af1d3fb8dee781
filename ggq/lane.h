// The lanes of a device: work of one lane runs in the order in which it was given, lanes run beside each other.
#pragma once

#include <cstdint>

namespace ggq {

enum class Lane : uint8_t {
    compute,
    in,    // copies to the device
    out,   // copies to the host
    aside  // restores weights beside the computing lane
};

inline constexpr Lane kLanes[] = {Lane::compute, Lane::in, Lane::out, Lane::aside};

}  // namespace ggq
