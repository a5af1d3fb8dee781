// What a bench of one family of kernels is made of: cases, written once for every device. run_family() checks each one,
// times it, and reports rates beside the ceilings and baselines measured in the same process.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/support/op_call.h"

namespace ggq::bench {

// Work that baselines are made of: seconds of one call, measured once a key; 0: there is none on this device.
struct Measurement {
    std::string key;
    std::function<double(Backend&)> seconds;
};

// What the time of a case is compared with: the sum of its parts.
struct Baseline {
    std::string name;
    std::vector<Measurement> parts;
};

struct Case {
    std::string op, shape;  // "quant_matmul:nf4", "4096x4096"
    int64_t rows = 0;       // M, or tokens
    Call call;
    std::vector<Baseline> baselines = {};
};

// The device's types and how large cases should be.
struct Scale {
    DType real = DType::f32;  // the computing type
    bool on_gpu = false;
    bool large = false;  // of a CPU: shapes of a 7B too. Without them all families take two minutes on two cores

    // Tokens; on the CPU few. Of products, whose form changes with them, more.
    std::vector<int64_t> rows() const;
    std::vector<int64_t> product_rows() const;
};

using Cases = std::vector<Case>;

// Seconds of one call of an op by itself.
double seconds_of(Backend& backend, const Call& call);
// The same of a bound one, the median of rounds that take a fiftieth of a second.
double quick_seconds(BoundCall& call);

// The program: parses --device, --large and Google Benchmark's flags; the exit code.
int run_family(const std::string& family, int argc, char** argv, const std::function<Cases(const Scale&)>& cases);

}  // namespace ggq::bench
