// Going on from one generated token to the next.
#include "kernels/cpu/real.h"

namespace ggq::cpu::GGQ_ISA {

void next_token(const CpuContext&, const KernelArgs& args) {
    const int32_t token = *args.in[5].as<int32_t>();
    int32_t* position = args.out[1].as<int32_t>();
    if (*position >= 0 && *position < args.out[4].shape[0]) args.out[4].as<int32_t>()[*position] = token;
    *args.out[0].as<int32_t>() = token;
    ++*position;
    ++args.out[2].as<int32_t>()[1];
    ++*args.out[3].as<int32_t>();
}

}  // namespace ggq::cpu::GGQ_ISA
