// y[n] = x[k] w[n,k]^T for one row of f16 or bf16 and 4-bit weights, with what stands around it when text is generated:
// x may first be normalized, up to three matrices share it, each may have an adapter, and outputs may be added to a
// residual or go in pairs through SwiGLU.
#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/messages.h"
#include "kernels/cuda/product.h"

namespace ggq::cuda {

// An adapter of LoRA, whose a is multiplied in the same launch: a[rank,k], b[n,rank], rows of b in whole 16 bytes.
struct OneRowAdapter {
    const void *a = nullptr, *b = nullptr;
    DType a_dtype = DType::f32, b_dtype = DType::f32;
    int rank = 0;  // 0: none
    float scale = 0;

    int row_bytes() const { return rank * static_cast<int>(info(b_dtype).bytes); }  // of b
};

// A matrix and where its rows' results go.
struct OneRowPart {
    QuantParts w;
    Output y;
    int n_pairs = 0;  // of rows
    OneRowAdapter adapter = {};
};

struct OneRow {
    const void* x = nullptr;     // [k]
    const void* norm = nullptr;  // [k]: x is x rstd norm; null: as it is
    const void* add = nullptr;   // [n] of the computing type, added to y of the only part; null: nothing is
    DType norm_dtype = DType::f32, format = DType::nf4, real = DType::bf16;
    float eps = 0;
    int k = 0, n_parts = 1;
    bool gated = false;  // y = silu(x w0^T) * (x w1^T) of the two first parts; their rows make pairs
    OneRowPart parts[3];
    // Of the adapters:
    Messages* messages = nullptr;  // x a^T goes from block to block through them
    int n_ranks = 0;               // at most kMostMessages
    int adapter_bytes = 0;         // the most that two rows of b, of a pair of rows of w, take
    int n_tellers = 0;             // blocks that multiply rows of a; set by one_row_4bit()
};

// Whether one_row_4bit() takes a matrix [n,k] of such codes. x, norm and rows of y begin on 16 bytes.
bool one_row_takes(int64_t n, int64_t k, DType real, DType w, const Device& device);
// Whether a block has room for what its rows want of adapters.
bool one_row_fits(const OneRow& call, const Device& device);
void one_row_4bit(const CudaContext& ctx, const OneRow& call);

}  // namespace ggq::cuda
