// Numbers that blocks of one launch tell each other. They stand in memory of the device's own, so that nothing has to
// be cleared before a launch: a number comes with that of the launch. One launch at a time uses it, on the compute
// stream.
#pragma once

#include <cstdint>

namespace ggq::cuda {

inline constexpr int kMostMessages = 256;

struct Messages {       // zeros at first
    uint64_t arrivals;  // of blocks, in 65536ths of a launch
    uint64_t unused;
    uint64_t numbers[kMostMessages];  // the launch's in the upper half
};

}  // namespace ggq::cuda
