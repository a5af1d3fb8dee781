// Every entry point of kernels/: what each kernel reads and writes, with shapes. All have one signature
// (kernels/kernel.h); the op rows in ggq/ops/ name them, so a missing one does not link.
//
// Rules for all of them
//   * a kernel writes its outputs entirely and never reads them, except in-out outputs (marked inout), which the
//     caller lists both as output and as input 0, 1, ... at the same address;
//   * "real" is the one type that a call computes in: f32 or f64 on the CPU, f32, f16 or bf16 on a GPU, where what is
//     not a product of 16-bit factors is computed in f32. Inputs and outputs without a type are real;
//   * "stat" (statistics, losses, gradients of parameters) is f64 if real is f64, else f32;
//   * "any float" is f32, f64, f16 or bf16, on a GPU not f64, read with conversion;
//   * views are contiguous unless said otherwise; the innermost stride is 1 except where "any strides" is said;
//   * results do not depend on the number of threads: split by size, and reductions in a fixed order;
//   * optional inputs and outputs come last and are simply absent; what may be given several times ("each") comes last
//     too, all of the first, then all of the next.
#pragma once

#include "kernels/kernel.h"

namespace ggq {

#if defined(GGQ_ONLY_PORTABLE)
#define GGQ_CPU_KERNEL(name)                                                           \
    namespace cpu {                                                                    \
    namespace portable {                                                               \
    void name(const CpuContext&, const KernelArgs&);                                   \
    }                                                                                  \
    inline constexpr CpuKernel name{{portable::name, portable::name, portable::name}}; \
    }
#else
#define GGQ_CPU_KERNEL(name)                                                     \
    namespace cpu {                                                              \
    namespace portable {                                                         \
    void name(const CpuContext&, const KernelArgs&);                             \
    }                                                                            \
    namespace avx2 {                                                             \
    void name(const CpuContext&, const KernelArgs&);                             \
    }                                                                            \
    namespace avx512 {                                                           \
    void name(const CpuContext&, const KernelArgs&);                             \
    }                                                                            \
    inline constexpr CpuKernel name{{portable::name, avx2::name, avx512::name}}; \
    }
#endif

#if defined(GGQ_CUDA)
#define GGQ_CUDA_KERNEL(name)                         \
    namespace cuda {                                  \
    void name(const CudaContext&, const KernelArgs&); \
    }
#else
#define GGQ_CUDA_KERNEL(name)                          \
    namespace cuda {                                   \
    inline constexpr CudaKernel name = cuda_not_built; \
    }
#endif

// Declares ggq::cpu::name, ggq::cuda::name, and ggq::kernels::name, which is both, so that no row names one without the
// other.
#define GGQ_KERNEL(name)                                 \
    GGQ_CPU_KERNEL(name)                                 \
    GGQ_CUDA_KERNEL(name)                                \
    namespace kernels {                                  \
    inline constexpr Kernel name{cpu::name, cuda::name}; \
    }                                                    \
    static_assert(true)

// embedding.cpp
// out y[T,C]; in table[V,C] quantized or any float, ids[T] i32
GGQ_KERNEL(embedding);
// out dtable[V,C], rows without a token zero; in dy[T,C], ids[T] i32, table[V,C] unread. A row's tokens are added
// in order.
GGQ_KERNEL(embedding_backward);

// rms_norm.cpp   y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + eps)
// out y[T,C], rstd[T] stat; in x[T,C], w[C] any float. RmsNormParams
GGQ_KERNEL(rms_norm);
// out dx[T,C], with sum added, dw[C] stat, optional; in dy[T,C], x[T,C], w[C] any float, rstd[T] stat, sum[T,C]
// optional, whose memory dx may be. dw is summed over chunks of kNormChunk rows.
GGQ_KERNEL(rms_norm_backward);

// matmul.cpp   y[m,n] = sum_k x[m,k] * w[n,k]; x, w any strides (a transposed view is fine)
// out y[m,n]; in x[m,k], w[n,k] any float
GGQ_KERNEL(matmul);

// quant_matmul.cpp   the weight w[n,k] is quantized
// out y[m,n]; in x[m,k], w[n,k]
GGQ_KERNEL(quant_matmul);
// out dx[m,k] = dy w + sum; in dy[m,n], w[n,k] quantized or any float, sum[m,k] optional, whose memory dx may be
GGQ_KERNEL(linear_input_gradient);

// lora_linear.cpp   y = x w^T + s xa b^T, xa = drop(x) a^T. Up to three a share x, each with its own mask: site + i.
// out each xa[m,r] = drop(x) a^T; in x[m,k], rng[2] i64 {seed, counter}, each a[r,k] any float. DropoutParams
GGQ_KERNEL(lora_down);
// out each da[r,k] stat = dxa^T drop(x); in x[m,k], rng, each dxa[m,r] stat. DropoutParams
GGQ_KERNEL(lora_down_backward);
// out dx[m,k] = sum + for each a mask(dxa a); in sum[m,k], whose memory dx may be, rng, each a[r,k] any float, each
// dxa[m,r] stat. DropoutParams
GGQ_KERNEL(lora_down_input_gradient);
// out y[m,n] = x w^T + s xa b^T + sum; in x[m,k], w[n,k] quantized or any float, xa[m,r], b[n,r] any float, sum[m,n]
// optional. ScaleParams
GGQ_KERNEL(lora_linear);
// out dxa[m,r] stat = s dy b, db[n,r] stat = s dy^T xa; in dy[m,n], xa[m,r], b[n,r] any float. ScaleParams
GGQ_KERNEL(lora_linear_backward);

// fused_linear.cpp   what stands around linear layers, in one call; weights w are quantized or any float, and w^T x is
// quant_matmul or matmul. h = rms_norm(x, norm)
// out q[T,N], k[T,G], v[T,G] = h wq^T, h wk^T, h wv^T; in x[T,C], norm[C] any float, wq[N,C], wk[G,C], wv[G,C].
// RmsNormParams
GGQ_KERNEL(norm_qkv);
// out y[T,N] = swiglu(h gate^T, h up^T); in x[T,C], norm[C] any float, gate[N,C], up[N,C]. RmsNormParams
GGQ_KERNEL(norm_swiglu);
// out y[T,N] = r + x w^T; in r[T,N], x[T,C], w[N,C]
GGQ_KERNEL(add_linear);

// The same with adapters: each linear layer is lora_linear without dropout. a, b any float. AdaptedParams
// in x, norm, wq, wk, wv, aq[r,C], bq[N,r], ak[s,C], bk[G,s], av[t,C], bv[G,t]
GGQ_KERNEL(lora_norm_qkv);
// in x, norm, gate, up, ag[r,C], bg[N,r], au[s,C], bu[N,s]
GGQ_KERNEL(lora_norm_swiglu);
// in r, x, w, a[r,C], b[N,r]
GGQ_KERNEL(lora_add_linear);

// rope.cpp   half-split rotation (first half of a head with its second half), angle = position * frequency
// out y[T,H,D], turned_k[T,G,D] if there is k; in x[T,H,D], positions[T] i32, frequencies[D/2] f32, k[T,G,D] optional
// (strides of x and k over tokens and heads any). RopeParams
GGQ_KERNEL(rope);

// attention.cpp   grouped heads: query head h uses key head h / (H / G). Query t sees keys spans[t][0] <= s <
// spans[t][1] (causality and document boundaries are in the spans; a span is never empty). Strides over token and head
// axes any. out y[T,H,D], lse[H,T] stat, natural-log-sum-exp of the scaled scores; in q[T,H,D], k[S,G,D], v[S,G,D] any
// float, spans[T,2] i32. AttentionParams
GGQ_KERNEL(attention);
// out dq[T,H,D], dk[S,G,D], dv[S,G,D]; in dy[T,H,D], q, k, v real, y[T,H,D], lse[H,T] stat, spans. AttentionParams
GGQ_KERNEL(attention_backward);
// inout cache[S,G,D] any float; in cache, x[T,G,D], at[A] i32: rows at[0] .. at[0]+T-1 become x where A is 1, else
// row at[t] becomes x[t]; no two may be one row. What is below 0 or beyond the cache is not written.
GGQ_KERNEL(cache_write);
// cached_attention.cpp   rope of q and k, cache_write of k and v, then attention
// inout k_cache[S,G,D], v_cache[S,G,D] any float, out y[T,H,D]; in k_cache, v_cache, q[T,H,D], k[T,G,D], v[T,G,D],
// positions[T] i32, frequencies[D/2] f32, at[A] i32, spans[T,2] i32. AttentionParams
GGQ_KERNEL(cached_attention);

// window_spans.cpp   out y[T,2], in spans[T,2], both i32: of each span the last keys. WindowParams
GGQ_KERNEL(window_spans);

// sample.cpp
// out token[T] i32, as kernels/sampling.h says, -1 for a row below 0 and where one of the logits that can be chosen is
// not finite; in logits[T,V], rows[T] i32, settings[R,8] f32, seeds[R] i64, positions[R] i32, log[R,S] i32: row rows[t]
// of these belongs to logits t, log[r][0..positions[r]] are the tokens so far.
GGQ_KERNEL(sample);

// next_token.cpp
// inout ids[R], positions[R], spans[R,2], at[R], log[R,S], all i32; in these, rows[T], token[T] i32. In row rows[t]
// ids and the log's element positions + 1 become the token, the others go on by one; `at` becomes -1 where the log is
// full or the token below 0. Nothing is done in rows below 0, and where `at` is.
GGQ_KERNEL(next_token);

// activation.cpp
// out y; in x. silu(x) = x / (1 + exp(-x))
GGQ_KERNEL(silu);
// out dx; in dy, x
GGQ_KERNEL(silu_backward);
// out y = silu(gate) * up; in gate, up
GGQ_KERNEL(swiglu);
// out dgate, dup; in dy, gate, up
GGQ_KERNEL(swiglu_backward);

// elementwise.cpp   same shapes
// out y = a + b; in a, b
GGQ_KERNEL(add);
// out y = a * b; in a, b
GGQ_KERNEL(mul);
// out y = factor * x; in x. ScaleParams
GGQ_KERNEL(scale);
// out y = s[0] * x; in x, s[1] stat
GGQ_KERNEL(scale_by);
// inout each y += x; in the ys, then as many x of the same shapes (x any float, one for all)
GGQ_KERNEL(accumulate);
// out y = value everywhere. FullParams
GGQ_KERNEL(full);
// inout y = value everywhere; in y. FillParams
GGQ_KERNEL(fill);
// out y[shape] = factor * s[0] everywhere; in s[1]. BroadcastParams
GGQ_KERNEL(broadcast);
// out y contiguous; in x any strides, same dtype (any dtype that is not quantized)
GGQ_KERNEL(copy);
// out y[m+n,c]: a[m,c], then b[n,c]; in a, b
GGQ_KERNEL(concat_rows);
// out y zero except y[.., begin:end, ..] = dy along the axis; in dy. SliceParams
GGQ_KERNEL(slice_backward);

// cast.cpp
// out y any float; in x any float
GGQ_KERNEL(cast);

// softmax.cpp   over the last dimension
// out y; in x
GGQ_KERNEL(softmax);
// out dx = y * (dy - sum(dy * y)); in dy, y
GGQ_KERNEL(softmax_backward);

// reduce.cpp   chunks of kSumChunk elements, then the chunk sums in order, accumulated in double
// out y[1]; in x
GGQ_KERNEL(sum);
// out norm[1] = sqrt(sum(x^2)); in x
GGQ_KERNEL(global_norm);
// out factor[1] = max_norm > 0 and norm > max_norm ? max_norm / (norm + 1e-6) : 1, NaN if the norm is not finite; in
// norm[1]. ClipParams
GGQ_KERNEL(clip_factor);

// dropout.cpp   y[i] = keep(i) ? x[i] / (1 - p) : 0, where keep(i) = 16-bit half i%8 of philox(seed, stream,
// (first+i)/8) >= 65536 p rounded, stream = counter << 32 | site. Its gradient is the same op on dy. out y; in x,
// rng[2] i64.
// DropoutParams
GGQ_KERNEL(dropout);

// cross_entropy.cpp   labels[T] i32; rows labelled kIgnoredLabel give no loss and a zero gradient
// out loss[1] stat = sum of lse - logit[label], lse[T] stat; in logits[T,V], labels
GGQ_KERNEL(cross_entropy);
// out dlogits[T,V] = dloss (softmax - onehot); in dloss[1] any float, logits, labels, lse stat
GGQ_KERNEL(cross_entropy_backward);

// linear_cross_entropy.cpp   cross_entropy(x w^T, labels) without the whole logits: labelled rows are gathered and
// taken `chunk` at a time. Gradients are those of the plain sum of losses. out loss[1] stat, dx[T,C] optional,
// dw[V,C] stat, optional; in x[T,C], w[V,C] quantized or any float, labels[T]. LinearCrossEntropyParams
GGQ_KERNEL(linear_cross_entropy);

// adamw.cpp   p, m, v, g flat [N]; rate[1] stat, step[1] i64 counting from 1, factor[1] stat, of the gradient; a factor
// that is not finite leaves everything as it is. AdamWParams
// inout p any float, m, v; in p, m, v, g, rate, step, factor. Decoupled decay as torch: p *= 1 - lr wd first.
GGQ_KERNEL(adamw);
// inout p any float, m u8[N], v u8[N], m_scale f32[ceil(N/kStateBlock)], v_scale; in these, g f32, rate, step, factor.
// bitsandbytes' blockwise form: kSignedMap for m, kUnsignedMap for v, decay after the update.
GGQ_KERNEL(adamw_8bit);

// quantize.cpp
// out q nf4, fp4 or int8; in x any float, contiguous
GGQ_KERNEL(quantize);
// out y any float; in q quantized
GGQ_KERNEL(dequantize);

}  // namespace ggq
