// Attention with grouped heads and spans of keys: the choice among the forms, which depends on shapes, dtypes,
// strides and the card alone.
#include "kernels/cuda/attention_forms.h"

namespace ggq::cuda {

void attention(const CudaContext& ctx, const KernelArgs& args) {
    GGQ_ASSERT(args.in[0].shape[2] <= kMostHeadSize, "attention: head sizes are at most 256 on CUDA");
    if (attention_decode_takes(args)) attention_decode(ctx, args);
    else if (attention_hopper_takes(ctx, args)) attention_hopper(ctx, args);
    else if (attention_mma_takes(ctx, args)) attention_mma(ctx, args);
    else attention_fma(ctx, args);
}

}  // namespace ggq::cuda
