// Linear layers of text generation with what stands around them.
#include "kernels/composed.h"
#include "kernels/kernels.h"

namespace ggq::cuda {

namespace {

struct Plain {
    using Context = CudaContext;
    static constexpr auto rms_norm = &cuda::rms_norm, matmul = &cuda::matmul, quant_matmul = &cuda::quant_matmul,
                          swiglu = &cuda::swiglu, add = &cuda::add;
};

}  // namespace

void norm_qkv(const CudaContext& ctx, const KernelArgs& args) { Composed<Plain>(ctx, args).norm_qkv(); }
void norm_swiglu(const CudaContext& ctx, const KernelArgs& args) { Composed<Plain>(ctx, args).norm_swiglu(); }
void add_linear(const CudaContext& ctx, const KernelArgs& args) { Composed<Plain>(ctx, args).add_linear(); }

}  // namespace ggq::cuda
