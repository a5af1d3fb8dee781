// The forms of attention, of which the entry points choose one by shape, dtype, strides and card.
#pragma once

#include "kernels/cuda/attention_workspace.h"
#include "kernels/cuda/context.h"

namespace ggq::cuda {

// The shapes of one call: q[T,H,D], k[S,G,D].
struct AttentionShape {
    int64_t T, H, D, S, G, group;

    AttentionShape(const View& q, const View& k)
        : T(q.shape[0]), H(q.shape[1]), D(q.shape[2]), S(k.shape[0]), G(k.shape[1]), group(H / G) {}
};

// Tensor cores: f16 or bf16 throughout, head sizes that are multiples of 8.
bool attention_mma_takes(const CudaContext& ctx, const KernelArgs& args);
void attention_mma(const CudaContext& ctx, const KernelArgs& args);

// Hopper: head sizes 64 and 128 in f16 or bf16.
bool attention_hopper_takes(const CudaContext& ctx, const KernelArgs& args);
void attention_hopper(const CudaContext& ctx, const KernelArgs& args);

// Few queries, long caches of f32, f16 or bf16.
bool attention_decode_takes(const KernelArgs& args);
void attention_decode(const CudaContext& ctx, const KernelArgs& args);

// The same of cached_attention: blocks rotate what they read, and write the new rows of the cache that they attend to.
bool cached_attention_decode_takes(const KernelArgs& args);
void cached_attention_decode(const CudaContext& ctx, const KernelArgs& args);

// The same of tokens with a place each on Hopper, in one launch: head sizes 64 and 128, all of f16 or bf16.
bool cached_attention_token_takes(const CudaContext& ctx, const KernelArgs& args);
void cached_attention_token(const CudaContext& ctx, const KernelArgs& args);

// Everything else, in float32.
void attention_fma(const CudaContext& ctx, const KernelArgs& args);

// The gradient; facts and ranges are in the workspace.
bool attention_backward_mma_takes(const KernelArgs& args, const AttentionBackwardPlan& plan);
void attention_backward_mma(const CudaContext& ctx, const KernelArgs& args, const AttentionBackwardPlan& plan);
bool attention_backward_hopper_takes(const KernelArgs& args, const AttentionBackwardPlan& plan);
void attention_backward_hopper(const CudaContext& ctx, const KernelArgs& args, const AttentionBackwardPlan& plan);
void attention_backward_fma(const CudaContext& ctx, const KernelArgs& args, const AttentionBackwardPlan& plan);
int attention_backward_fma_range_rows(int64_t D);  // queries that share an entry of `ranges`

}  // namespace ggq::cuda
