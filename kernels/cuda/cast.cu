// cast: y = x in another float type, rounded to nearest even. One pass; floor: the bytes of x and y.
#include "kernels/cuda/elementwise.cuh"

namespace ggq::cuda {

namespace {

struct Same {
    __device__ float operator()(float x) const { return x; }
};

}  // namespace

void cast(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &x = args.in[0];
    with_real(y.dtype, [&](auto to) {
        with_real(x.dtype, [&](auto from) {
            using To = decltype(to);
            using From = decltype(from);
            map(ctx, y.n_elems(), Unary<Same, To, From>{y.as<To>(), x.as<From>(), {}});
        });
    });
}

}  // namespace ggq::cuda
