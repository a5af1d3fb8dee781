#include "kernels/cuda/attention_workspace.h"

#include "kernels/cuda/workspace.h"

namespace ggq::cuda {

namespace {

// The fewest parts, a divisor of the heads of a group, that give every multiprocessor several blocks: those of early
// keys have most to do where attention is causal, and only more blocks than fit at a time even that out.
int64_t head_splits(int64_t n_blocks, int64_t group, const Device& device) {
    for (int64_t n = 1; n < group; ++n)
        if (group % n == 0 && n_blocks * n >= int64_t{6} * device.n_sms) return n;
    return group;
}

}  // namespace

bool has_tensor_cores_for(DType real, const Device& device) {
    return real == DType::f16 ? device.capability >= 75 : real == DType::bf16 && device.has_bf16();
}

int64_t attention_workspace(int64_t T, int64_t H, int64_t D, int64_t S) {
    return attention_may_decode(T, S) ? decode_pieces(S) * T * H * (D + 2) * 4 : 0;
}

AttentionBackwardPlan attention_backward_plan(int64_t T, int64_t H, int64_t D, int64_t S, int64_t G, DType real,
                                              const Device& device) {
    AttentionBackwardPlan plan;
    plan.tensor_cores = has_tensor_cores_for(real, device) && D % 8 == 0 && D <= 128 &&
                        key_gradient_shared_bytes(D <= 64 ? 64 : 128) <= device.shared_bytes;
    if (plan.tensor_cores) plan.n_splits = head_splits(ceil_div(S, kGradientTile) * G, H / G, device);
    plan.padded_queries = round_up(T, kGradientTile);
    plan.ranges = H * plan.padded_queries * 16;
    plan.partials = aligned_256(plan.ranges + ceil_div(T, kFewestRangeRows) * 16);
    plan.bytes = plan.partials + (plan.n_splits > 1 ? 2 * plan.n_splits * S * G * D * 4 : 0);
    return plan;
}

int64_t attention_backward_workspace(int64_t T, int64_t H, int64_t D, int64_t S, int64_t G, DType real,
                                     const Device& device) {
    return attention_backward_plan(T, H, D, S, G, real, device).bytes;
}

}  // namespace ggq::cuda
