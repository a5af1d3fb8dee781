#include "kernels/cpu/attention_workspace.h"

#include "kernels/rounding.h"

namespace ggq::cpu {

int64_t attention_piece_keys(int64_t T, int64_t H, int64_t S, int64_t G) {
    if (T * (H / G) > kAttentionBlock) return S;
    const int64_t keys = round_up(ceil_div(S, kMostPieces), kAttentionBlock);
    return keys < kLeastPieceKeys ? kLeastPieceKeys : keys;
}

int64_t attention_workspace(int64_t T, int64_t H, int64_t D, int64_t S, int64_t G, int n_threads, int64_t real_bytes) {
    const int64_t worker = kAttentionBlock * (4 * D + kAttentionBlock);  // queries, output, keys, values; scores
    const int64_t piece_keys = attention_piece_keys(T, H, S, G);
    const int64_t n_pieces = S > piece_keys ? ceil_div(S, piece_keys) : 0;
    const int64_t piece = (D + 2) * round_up(T * (H / G), kAttentionPadding);  // output, maximum, sum
    return (n_threads * worker + n_pieces * G * piece) * real_bytes;
}

int64_t attention_backward_workspace(int64_t T, int64_t H, int64_t D, int n_threads, int64_t real_bytes) {
    const int64_t worker = kAttentionBlock * (6 * D + 2 * kAttentionBlock);
    return (n_threads * worker + round_up(T * H, kAttentionPadding)) * real_bytes;
}

}  // namespace ggq::cpu
