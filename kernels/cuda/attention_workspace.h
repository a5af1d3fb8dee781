// How attention on a CUDA device is cut into pieces, and the workspace bytes that follow. T queries of H heads and S
// keys of G heads, all of size D. No header of CUDA is needed.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/rounding.h"
#include "kernels/view.h"

namespace ggq::cuda {

inline constexpr int64_t kMostHeadSize = 256;

// Decode: so few queries against so many keys that there is one block of threads for each piece of the keys.
inline constexpr int64_t kDecodeQueries = 8, kDecodeKeys = 256, kDecodePiece = 64;

constexpr bool attention_may_decode(int64_t T, int64_t S) { return T <= kDecodeQueries && S >= kDecodeKeys; }
constexpr int64_t decode_pieces(int64_t S) { return ceil_div(S, kDecodePiece); }

// Decode alone wants a workspace: o f32[pieces,T,H,D], then {maximum, sum} f32[pieces,T,H,2].
int64_t attention_workspace(int64_t T, int64_t H, int64_t D, int64_t S);

// A batch, one token of each of T sequences: chunks into which the keys that a token sees are cut, and o
// f32[chunks,T,H,D], then {maximum, sum} f32[chunks,T,H,2].
int64_t batch_attention_chunks(int64_t T, int64_t G, const Device& device);
int64_t batch_attention_workspace(int64_t T, int64_t H, int64_t D, int64_t G, const Device& device);

inline constexpr int64_t kGradientTile = 64;     // queries, and keys, in a tile of the tensor-core form
inline constexpr int64_t kHopperKeys = 128;      // keys in a tile of Hopper's form
inline constexpr int kMostFolded = 512;          // tiles of keys that may be folded (attention_order.h)
inline constexpr int64_t kFewestRangeRows = 16;  // queries that share an entry of `ranges`

// Byte offsets of what the gradient keeps, and how its work is cut.
struct AttentionBackwardPlan {
    bool tensor_cores = false;   // dtype, head size and card allow them
    bool hopper = false;         // and so does Hopper's form, if the views do
    bool may_fold = false;       // of that: blocks may take a late and an early tile of keys (attention_order.h)
    int64_t parts_a_pass = 0;    // of that: splits of key heads whose dq is summed at a time
    int64_t n_splits = 1;        // blocks that share the query heads of a key head
    int64_t padded_queries = 0;  // T up to a whole tile
    int64_t facts = 0;           // QueryFacts[H,padded_queries], 16 bytes each
    int64_t ranges = 0;          // KeyRange[ceil(T / 16) at most], 16 bytes each
    int64_t partials = 0;        // dk f32[n_splits,S,G,D], then dv; none if n_splits is 1
    int64_t dq = 0;              // of Hopper's form: f32[heads of a pass,padded_queries,D]
    int64_t turns = 0;  // of that: i32[H,tiles of queries], then a ticket for each part, then `half`; all 0 at first
    int64_t n_counters = 0;  // turns, tickets, half
    int64_t bytes = 0;
};

AttentionBackwardPlan attention_backward_plan(int64_t T, int64_t H, int64_t D, int64_t S, int64_t G, DType real,
                                              const Device& device);
int64_t attention_backward_workspace(int64_t T, int64_t H, int64_t D, int64_t S, int64_t G, DType real,
                                     const Device& device);

// Bytes of shared memory that a block of the tensor-core form of dk and dv asks for: k and v, twice q and dy, twice the
// facts of the queries.
constexpr int64_t key_gradient_shared_bytes(int64_t padded_head) {
    return 6 * kGradientTile * padded_head * 2 + 2 * kGradientTile * 16;
}

// Whether the forms for Hopper take these shapes.
bool hopper_takes(int64_t D, DType real, const Device& device);

// Tensor cores multiply 16-bit numbers, bf16 from capability 8.0.
bool has_tensor_cores_for(DType real, const Device& device);

}  // namespace ggq::cuda
