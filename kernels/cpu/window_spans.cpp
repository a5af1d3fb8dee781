// Spans of keys for layers with a sliding window.
#include <algorithm>

#include "kernels/cpu/real.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

void window_spans(const CpuContext&, const KernelArgs& args) {
    const int32_t* spans = args.in[0].as<int32_t>();
    auto* y = args.out[0].as<int32_t>();
    const int32_t most = args.param<WindowParams>().n_keys;
    for (int64_t t = 0; t < args.out[0].shape[0]; ++t) {
        y[2 * t] = std::max(spans[2 * t], spans[2 * t + 1] - most);
        y[2 * t + 1] = spans[2 * t + 1];
    }
}

}  // namespace ggq::cpu::GGQ_ISA
