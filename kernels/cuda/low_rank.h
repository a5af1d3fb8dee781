// The products of low-rank adapters that are bound by the reading and writing of one wide matrix: n <= 3 modules that
// share it are served in one pass, each with a dropout mask of its own. T is f16 or bf16; sums are float. All launches
// are deterministic. takes_low_rank() of low_rank_workspace.h says which shapes the kernels take; wide matrices are
// aligned to 16 bytes. Ranks are padded inside to 16, 32 or 64; above 16, each
// module has a pass of its own.
//
// Masks lie over the wide matrix without its padding: element (i, j) of w columns is number i w + j, the mask of module
// i has site mask.dropout.site + i, and mask_i(x) includes the scale of what stays. Positions of one call differ in the
// lower 32 bits of their group alone (34 billion elements).
#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/low_rank_workspace.h"
#include "kernels/cuda/product.h"

namespace ggq::cuda {

inline constexpr int kMostModules = 3;

// What calls share: n modules of one rank over a wide matrix [m,width], contiguous, T.
struct LowRankCall {
    int64_t m = 0, width = 0;
    int rank = 0, n = 1;
    DType real = DType::bf16;  // T
    Mask mask = {};
};

// y_i[m,rank] = alpha mask_i(x)[m,width] a_i[rank,width]^T. Floor: the bytes of x, and where there is a mask n Philox
// for every 8 elements of x.
struct LowRankDown : LowRankCall {
    const void* x = nullptr;           // T[m,width]
    const void* a[kMostModules] = {};  // T[rank,width] contiguous, aligned to 16 bytes
    void* y[kMostModules] = {};        // [m,rank] contiguous
    DType y_dtype = DType::f32;        // f32, f16 or bf16
    float alpha = 1;
};
void low_rank_down(const CudaContext& ctx, const LowRankDown& p);

// o_i[rank,width] = alpha sum over m of u_i[m,rank] mask_i(x)[m,width]. u is multiplied as a sum of two T, which holds
// 16 (bf16) or 22 (f16) bits of it. Floor: the bytes of x, and Philox as above. low_rank_outer_workspace() bytes.
struct LowRankOuter : LowRankCall {
    const void* x = nullptr;            // T[m,width]
    const float* u[kMostModules] = {};  // [m,rank] contiguous, aligned to 16 bytes
    float* o[kMostModules] = {};        // [rank,width] contiguous, aligned to 16 bytes
    float alpha = 1;
};
void low_rank_outer(const CudaContext& ctx, const LowRankOuter& p, Scratch scratch);

// y[m,width] = sum[m,width] + scale (mask_1(u_1 v_1) + ... + mask_n(u_n v_n)), u_i[m,rank] rounded to T,
// v_i[rank,width]. Floor: the bytes of sum and y, and Philox as above.
struct LowRankAdd : LowRankCall {
    const void* sum = nullptr;         // T[m,width], or null for zeros; may be y
    void* y = nullptr;                 // T[m,width]
    const void* u[kMostModules] = {};  // [m,rank] contiguous, aligned to 4 elements
    DType u_dtype = DType::f32;        // f32 or T
    const void* v[kMostModules] = {};  // T, element (r, c) at r v_r_stride + c v_c_stride, one of them 1
    int64_t v_r_stride = 0, v_c_stride = 1;
    float scale = 1;
};
void low_rank_add(const CudaContext& ctx, const LowRankAdd& p);

// dxa[m,rank] = alpha dy[m,n] b[n,rank] and db[n,rank] = alpha dy^T xa[m,rank], all contiguous. Floor: the bytes of dy.
// low_rank_backward_workspace() bytes.
struct LowRankBackward {
    int64_t m = 0, n = 0;
    int rank = 0;
    DType real = DType::bf16;                               // T of dy, xa and b
    const void *dy = nullptr, *xa = nullptr, *b = nullptr;  // xa and b aligned to 16 bytes
    float *dxa = nullptr, *db = nullptr;
    float alpha = 1;
};
void low_rank_backward(const CudaContext& ctx, const LowRankBackward& p, Scratch scratch);

}  // namespace ggq::cuda
