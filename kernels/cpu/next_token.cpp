// Going on from one generated token to the next.
#include "kernels/cpu/real.h"

namespace ggq::cpu::GGQ_ISA {

void next_token(const CpuContext&, const KernelArgs& args) {
    const auto state = [&](size_t i) { return args.out[i].as<int32_t>(); };
    int32_t *ids = state(0), *positions = state(1), *spans = state(2), *at = state(3), *log = state(4);
    const int64_t n_rows = args.out[4].shape[0], n_log = args.out[4].shape[1], n_tokens = args.in[6].shape[0];
    for (int64_t t = 0; t < n_tokens; ++t) {
        const int64_t r = args.in[5].as<int32_t>()[t];
        if (r < 0 || r >= n_rows || at[r] < 0) continue;
        const int32_t token = args.in[6].as<int32_t>()[t], position = positions[r] + 1;
        if (position >= 0 && position < n_log) log[r * n_log + position] = token;
        if (token < 0 || position >= n_log) {
            at[r] = -1;
            continue;
        }
        ids[r] = token;
        positions[r] = position;
        ++spans[2 * r + 1];
        ++at[r];
    }
}

}  // namespace ggq::cpu::GGQ_ISA
