#include "kernels/cuda/attention_workspace.h"

#include <algorithm>

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

// Hopper's form sums dq in floats, for no more heads at a time than take this.
constexpr int64_t kPassBytes = int64_t{128} << 20;

bool fills(int64_t n_units, const Device& device) {
    return n_units * 20 >= ceil_div(n_units, device.n_sms) * device.n_sms * 17;
}

// Folded, all blocks of a part have equally much to do, and wait for each other: they have to run at a time. The fewest
// splits that fill the card; without, early tiles go first.
void cut_for_hopper(AttentionBackwardPlan& plan, int64_t S, int64_t G, int64_t group, const Device& device) {
    const int64_t n_blocks = ceil_div(S, kHopperKeys);
    plan.hopper = true;
    for (int64_t n = 1; n <= group && n_blocks <= device.n_sms; ++n)
        if (group % n == 0 && fills(ceil_div(n_blocks, 2) * G * n, device)) {
            plan.fold = true;
            plan.n_splits = n;
            return;
        }
    plan.n_splits = head_splits(n_blocks * G, group, device);
}

}  // namespace

bool hopper_takes(int64_t D, DType real, const Device& device) {
    return device.hopper && (D == 64 || D == 128) && (real == DType::f16 || real == DType::bf16);
}

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
    if (hopper_takes(D, real, device)) cut_for_hopper(plan, S, G, H / G, device);
    else if (plan.tensor_cores) plan.n_splits = head_splits(ceil_div(S, kGradientTile) * G, H / G, device);
    plan.padded_queries = round_up(T, kGradientTile);
    plan.ranges = H * plan.padded_queries * 16;
    plan.partials = aligned_256(plan.ranges + ceil_div(T, kFewestRangeRows) * 16);
    plan.bytes = plan.dq = plan.partials + (plan.n_splits > 1 ? aligned_256(2 * plan.n_splits * S * G * D * 4) : 0);
    if (!plan.hopper) return plan;
    const int64_t n_parts = G * plan.n_splits, part_bytes = H / n_parts * plan.padded_queries * D * 4;
    plan.parts_a_pass = std::clamp<int64_t>(kPassBytes / part_bytes, 1, n_parts);
    plan.turns = plan.dq + plan.parts_a_pass * part_bytes;
    plan.bytes = plan.turns + aligned_256((H * plan.padded_queries / kGradientTile + n_parts) * 4);
    return plan;
}

int64_t attention_backward_workspace(int64_t T, int64_t H, int64_t D, int64_t S, int64_t G, DType real,
                                     const Device& device) {
    return attention_backward_plan(T, H, D, S, G, real, device).bytes;
}

}  // namespace ggq::cuda
