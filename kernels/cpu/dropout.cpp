// y = x where the mask keeps an element, scaled by 1 / (1 - p), and 0 elsewhere; dropout_mask.h defines the mask.
// Floor: the bytes of x and y.
#include "kernels/cpu/dropout_mask.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

void dropout(const CpuContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0];
    const DropoutMask mask = dropout_mask(args.in[1], args.param<DropoutParams>());
    with_real(y.dtype, [&](auto tag) {
        using T = decltype(tag);
        ctx.threads->for_range(x.n_elems(), kTaskElems, [&](int64_t begin, int64_t end) {
            apply_mask(mask, begin, end - begin, x.as<const T>() + begin, y.as<T>() + begin);
        });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
