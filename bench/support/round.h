// The timing of a call: by the device's own stamps where it has them, of calls that are recorded, so that the host's
// part is not in it; else by the clock.
#pragma once

#include <algorithm>

#include "bench/ceilings.h"
#include "bench/support/op_call.h"

namespace ggq::bench {

class Round {
public:
    explicit Round(BoundCall& call) : call_(call), on_device_(!call.backend().reads_host_memory()) {
        if (!on_device_) return;
        n_calls_ = std::max(call.n_sets(), kCallsARecording);
        run_all();  // libraries are loaded and memory is touched before anything is recorded
        call.backend().synchronize();
        if (call.backend().records()) recording_ = call.backend().record([&] { run_all(); });
        seconds();
    }

    int64_t n_calls() const { return static_cast<int64_t>(n_calls_); }

    // Of all its calls.
    double seconds() {
        if (!on_device_) return bench::seconds([&] { run_all(); });
        Backend& backend = call_.backend();
        backend.stamp(Lane::compute, 0);
        if (recording_) recording_->replay();
        else run_all();
        backend.stamp(Lane::compute, 1);
        backend.synchronize();
        return backend.seconds_between(0, 1);
    }

private:
    static constexpr size_t kCallsARecording = 16;  // enough to hide what starting one takes

    void run_all() {
        for (size_t i = 0; i < n_calls_; ++i) call_.run(turn_++ % call_.n_sets());
    }

    BoundCall& call_;
    bool on_device_;
    size_t n_calls_ = 1, turn_ = 0;
    std::unique_ptr<Recording> recording_;
};

}  // namespace ggq::bench
