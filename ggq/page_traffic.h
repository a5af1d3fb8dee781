// What paging cost: bytes that were copied between the host and the device, and how long ops waited for them.
#pragma once

#include <cstdint>

namespace ggq {

struct PageTraffic {
    int64_t bytes_in = 0, bytes_out = 0;  // of pages and of kept values, to the device and to the host
    int64_t stalls = 0;                   // how often the computing lane waited for a copy, kLeastStall or longer
    double stalled_seconds = 0;           // in all of them; 0 where the device does not take the time

    PageTraffic& operator+=(const PageTraffic& more) {
        bytes_in += more.bytes_in;
        bytes_out += more.bytes_out;
        stalls += more.stalls;
        stalled_seconds += more.stalled_seconds;
        return *this;
    }
    friend PageTraffic operator-(PageTraffic a, const PageTraffic& b) {
        return a += {-b.bytes_in, -b.bytes_out, -b.stalls, -b.stalled_seconds};
    }
};

// Seconds: a wait for what is there already takes a few microseconds.
inline constexpr double kLeastStall = 10e-6;

}  // namespace ggq
