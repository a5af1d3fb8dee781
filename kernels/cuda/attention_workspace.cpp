#include "kernels/cuda/attention_workspace.h"

#include <algorithm>
#include <cstdint>

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
constexpr int64_t kPassBytes = int64_t{256} << 20;

// Folded, all blocks of a part have equally much to do where attention is causal, and wait for each other: they have to
// run at a time. The fewest splits that fill the card.
void cut_for_hopper(AttentionBackwardPlan& plan, int64_t n_key_tiles, int64_t G, int64_t group, const Device& device) {
    const int64_t n_pairs = ceil_div(n_key_tiles, 2);
    for (int64_t n = 1; n <= group && n_pairs <= std::min<int64_t>(device.n_sms, kMostFolded / 2); ++n) {
        const int64_t n_units = n_pairs * G * n, n_rounds = ceil_div(n_units, device.n_sms);
        if (group % n != 0 || n_units * 20 < n_rounds * device.n_sms * 17) continue;
        plan.may_fold = true;
        plan.n_splits = n;
        return;
    }
    plan.n_splits = head_splits(n_key_tiles * G, group, device);
}

// Of the passes over all parts that take the fewest rounds of blocks, the longest: at the end of a pass blocks idle.
int64_t parts_a_pass(int64_t n_parts, int64_t units_a_part, int64_t most, const Device& device) {
    const auto rounds = [&](int64_t n) { return ceil_div(n * units_a_part, device.n_sms); };
    int64_t best = 1, fewest = INT64_MAX;
    for (int64_t n = 1; n <= std::max<int64_t>(1, std::min(n_parts, most)); ++n) {
        const int64_t all = n_parts / n * rounds(n) + rounds(n_parts % n);
        if (all <= fewest) fewest = all, best = n;
    }
    return best;
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

// Eight blocks for each multiprocessor.
int64_t batch_attention_chunks(int64_t T, int64_t G, const Device& device) {
    return std::clamp<int64_t>(ceil_div(int64_t{8} * device.n_sms, T * G), 1, 32);
}

int64_t batch_attention_workspace(int64_t T, int64_t H, int64_t D, int64_t G, const Device& device) {
    return batch_attention_chunks(T, G, device) * T * H * (D + 2) * 4;
}

AttentionBackwardPlan attention_backward_plan(int64_t T, int64_t H, int64_t D, int64_t S, int64_t G, DType real,
                                              const Device& device) {
    AttentionBackwardPlan plan;
    plan.tensor_cores = has_tensor_cores_for(real, device) && D % 8 == 0 && D <= 128 &&
                        key_gradient_shared_bytes(D <= 64 ? 64 : 128) <= device.shared_bytes;
    const int64_t n_key_tiles = ceil_div(S, kHopperKeys);
    plan.hopper = device.tuning.attention_backward_hopper == 1 && hopper_takes(D, real, device);
    if (plan.hopper) cut_for_hopper(plan, n_key_tiles, G, H / G, device);
    else if (plan.tensor_cores) plan.n_splits = head_splits(ceil_div(S, kGradientTile) * G, H / G, device);
    plan.padded_queries = round_up(T, kGradientTile);
    plan.ranges = H * plan.padded_queries * 16;
    plan.partials = aligned_256(plan.ranges + ceil_div(T, kFewestRangeRows) * 16);
    plan.bytes = plan.dq = plan.partials + (plan.n_splits > 1 ? aligned_256(2 * plan.n_splits * S * G * D * 4) : 0);
    if (!plan.hopper) return plan;
    const int64_t n_parts = G * plan.n_splits, part_bytes = H / n_parts * plan.padded_queries * D * 4;
    plan.parts_a_pass =
        parts_a_pass(n_parts, plan.may_fold ? ceil_div(n_key_tiles, 2) : n_key_tiles, kPassBytes / part_bytes, device);
    plan.turns = plan.dq + plan.parts_a_pass * part_bytes;
    plan.n_counters = H * plan.padded_queries / kGradientTile + n_parts + 1;
    plan.bytes = plan.turns + aligned_256(plan.n_counters * 4);
    return plan;
}

int64_t attention_backward_workspace(int64_t T, int64_t H, int64_t D, int64_t S, int64_t G, DType real,
                                     const Device& device) {
    return attention_backward_plan(T, H, D, S, G, real, device).bytes;
}

}  // namespace ggq::cuda
