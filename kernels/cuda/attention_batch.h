// cached_attention of a batch: each token has a place of its own in the cache.
#pragma once

#include "kernels/cuda/context.h"

namespace ggq::cuda {

// Tokens with a place each, q and caches of one 16-bit type, at most 8 query heads to a key head.
bool attention_batch_takes(const KernelArgs& args);
// batch_attention_workspace() bytes.
void attention_batch(const CudaContext& ctx, const KernelArgs& args);

}  // namespace ggq::cuda
