// cast: y = x in another float type, rounded to nearest even. double reaches the 16-bit types through float.
#include "kernels/cpu/real.h"

namespace ggq::cpu::GGQ_ISA {

void cast(const CpuContext& ctx, const KernelArgs& args) {
    with_float(args.out[0].dtype, [&](auto to) {
        with_float(args.in[0].dtype, [&](auto from) {
            using To = decltype(to);
            using From = decltype(from);
            To* y = args.out[0].as<To>();
            const From* x = args.in[0].as<From>();
            for_each_elem(ctx, args.out[0].n_elems(), [=](int64_t i) { y[i] = convert<To>(x[i]); });
        });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
