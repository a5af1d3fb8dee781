// How attention is cut into blocks, and the workspace bytes that follow; neither depends on the instruction set.
// T queries of H heads and S keys of G heads, all of size D; `real_bytes` is 4 or 8, `n_threads` that of the pool.
#pragma once

#include <cstdint>

namespace ggq::cpu {

inline constexpr int64_t kAttentionBlock = 64;    // queries (times heads of a group) in a block, and keys in a block
inline constexpr int64_t kAttentionPadding = 16;  // rows of blocks in memory are padded to this many elements
inline constexpr int64_t kLeastPieceKeys = 512, kMostPieces = 16;

// A few queries against a long cache give too few tasks, so their keys are split into pieces of so many. Else all of S.
int64_t attention_piece_keys(int64_t T, int64_t H, int64_t S, int64_t G);

int64_t attention_workspace(int64_t T, int64_t H, int64_t D, int64_t S, int64_t G, int n_threads, int64_t real_bytes);
int64_t attention_backward_workspace(int64_t T, int64_t H, int64_t D, int n_threads, int64_t real_bytes);

}  // namespace ggq::cpu
