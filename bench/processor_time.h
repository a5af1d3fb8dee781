// Processor time of this process, of all its threads: what a bench on a machine with neighbours compares by.
#pragma once

#include <ctime>

namespace ggq::bench {

inline double processor_seconds() {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace ggq::bench
