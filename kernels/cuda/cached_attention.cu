// Rotation, cache writes and attention of the newest tokens: with a place in the cache for each token one launch on
// Hopper, elsewhere two; two for few queries over a long cache; else a row of the plain kernels. Floor:
// the bytes of the keys and values seen.
#include "kernels/composed.h"
#include "kernels/cuda/attention_batch.h"
#include "kernels/cuda/attention_forms.h"
#include "kernels/kernels.h"

namespace ggq::cuda {

namespace {

struct Plain {
    using Context = CudaContext;
    static constexpr auto rope = &cuda::rope, cache_write = &cuda::cache_write, attention = &cuda::attention;
};

}  // namespace

void cached_attention(const CudaContext& ctx, const KernelArgs& args) {
    if (cached_attention_token_takes(ctx, args)) return cached_attention_token(ctx, args);
    if (attention_batch_takes(args)) return attention_batch(ctx, args);
    if (cached_attention_decode_takes(args)) return cached_attention_decode(ctx, args);
    Composed<Plain>(ctx, args).cached_attention();
}

}  // namespace ggq::cuda
