#include <cstdlib>
#include <cstring>

#include "kernels/kernel.h"

namespace ggq {

namespace {

CpuIsa best_isa() {
#if defined(__x86_64__) && !defined(GGQ_ONLY_PORTABLE)
    __builtin_cpu_init();
    // Every processor with AVX2 has F16C, which not every compiler can ask for.
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx2 && avx512) return CpuIsa::avx512;
    if (avx2) return CpuIsa::avx2;
#endif
    return CpuIsa::portable;
}

}  // namespace

const char* name(CpuIsa isa) {
    static constexpr const char* kNames[] = {"portable", "avx2", "avx512"};
    return kNames[static_cast<int>(isa)];
}

CpuIsa detect_cpu_isa() {
    const CpuIsa best = best_isa();
    const char* wanted = std::getenv("GGQ_CPU_ISA");
    for (CpuIsa isa : {CpuIsa::portable, CpuIsa::avx2})
        if (wanted && std::strcmp(wanted, name(isa)) == 0 && isa < best) return isa;
    return best;
}

}  // namespace ggq
