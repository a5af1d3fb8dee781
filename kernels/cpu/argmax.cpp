// The place of the largest element of a row. Floor: the bytes of x.
#include "kernels/cpu/real.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

// x - x is 0 for finite numbers alone.
template <typename T>
int32_t largest_of(const T* x, int64_t n) {
    int64_t best = 0;
    bool finite = true;
    for (int64_t i = 0; i < n; ++i) {
        finite &= x[i] - x[i] == 0;
        if (x[i] > x[best]) best = i;
    }
    return finite ? static_cast<int32_t>(best) : -1;
}

}  // namespace

void argmax(const CpuContext& ctx, const KernelArgs& args) {
    const View &id = args.out[0], &x = args.in[0];
    const int64_t n = args.param<ArgmaxParams>().n;
    with_real(x.dtype, [&](auto tag) {
        using T = decltype(tag);
        ctx.threads->for_range(x.shape[0], 1, [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; ++t) id.as<int32_t>()[t] = largest_of(x.as<T>() + t * x.shape[1], n);
        });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
