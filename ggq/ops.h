// Builders: one free function an op. Shapes are outermost first; T tokens, C channels, H heads, G key heads, D head
// size, V vocabulary. Each throws Error "[op] layer input: expected ..., got ..." for wrong types or shapes.
#pragma once

#include "ggq/graph.h"
#include "kernels/params.h"

namespace ggq {

// table[V,C] any float, ids[T] i32 -> [T,C] of dtype `out`
Tensor embedding(Tensor table, Tensor ids, DType out = DType::f32);

// x[T,C], w[C] -> x / sqrt(mean(x^2) + eps) * w
Tensor rms_norm(Tensor x, Tensor w, float eps);

// x[m,k], w[n,k] -> x w^T [m,n]; w any float, transposed views are fine
Tensor matmul(Tensor x, Tensor w);

// The same with a quantized, frozen w.
Tensor quant_matmul(Tensor x, Tensor w);

// matmul or quant_matmul, as w is.
Tensor linear(Tensor x, Tensor w);

// x[m,k], rng[2] i64 {seed, counter}, each a[r,k] -> for each of them dropout(x) a^T [m,r], with a mask of its own:
// that of a's place i has site + i.
std::vector<Tensor> lora_down(Tensor x, Tensor rng, const std::vector<Tensor>& a, const DropoutParams& dropout);

// x[m,k], w[n,k] frozen, xa[m,r] = dropout(x) a^T, b[n,r], sum[m,n] or none -> x w^T + scaling xa b^T (+ sum) [m,n]
Tensor lora_linear(Tensor x, Tensor w, Tensor xa, Tensor b, double scaling, Tensor sum = {});

// What a layer does when it generates text, a launch each where the device has such kernels; no gradients.
// x[T,C], norm[C], w[N,C], w[G,C], w[G,C] -> linear(rms_norm(x, norm, eps), w) of each: [T,N], [T,G], [T,G]
struct Qkv {
    Tensor q, k, v;
};
Qkv norm_qkv(Tensor x, Tensor norm, Tensor wq, Tensor wk, Tensor wv, float eps);
// x[T,C], norm[C], gate[N,C], up[N,C] -> swiglu(linear(h, gate), linear(h, up)) [T,N] of h = rms_norm(x, norm, eps)
Tensor norm_swiglu(Tensor x, Tensor norm, Tensor gate, Tensor up, float eps);
// r[T,N], x[T,C], w[N,C] -> r + linear(x, w)
Tensor add_linear(Tensor r, Tensor x, Tensor w);
// The same with an adapter on each of the weights: lora_linear, without dropout, in place of linear.
struct Adapted {
    Tensor w, a, b;  // [n,k], [r,k], [n,r]
    float scaling = 1;
};
Qkv lora_norm_qkv(Tensor x, Tensor norm, const Adapted& q, const Adapted& k, const Adapted& v, float eps);
Tensor lora_norm_swiglu(Tensor x, Tensor norm, const Adapted& gate, const Adapted& up, float eps);
Tensor lora_add_linear(Tensor r, Tensor x, const Adapted& l);

// x[T,H,D], positions[T] i32, frequencies[D/2] f32 -> rotated x
Tensor rope(Tensor x, Tensor positions, Tensor frequencies);
// The same of q[T,H,D] and k[T,G,D] in one step.
struct Rotated {
    Tensor q, k;
};
Rotated rope(Tensor q, Tensor k, Tensor positions, Tensor frequencies);

// q[T,H,D], k[S,G,D], v[S,G,D], spans[T,2] i32 -> [T,H,D]; query t sees keys spans[t][0] <= s < spans[t][1]
Tensor attention(Tensor q, Tensor k, Tensor v, Tensor spans, float scale);

// spans[T,2] i32 -> the same with the last `n_keys` keys of each, of fewer all: a sliding window, the query's own key
// in it.
Tensor window_spans(Tensor spans, int64_t n_keys);

// Writes x[T,G,D] into the state cache[S,G,D]: at[1] i32 to rows at[0].., at[T] row t to row at[t], or nowhere if that
// is below 0; returns the new version.
Tensor cache_write(Tensor cache, Tensor x, Tensor at);

// Attention of the newest tokens: rotated k and v go to rows of the caches [S,G,D] as in cache_write, then rotated q
// attends to those that its span names. q[T,H,D], k[T,G,D],
// v[T,G,D] as the linear layers give them -> [T,H,D]; no gradient.
struct NewTokens {
    Tensor q, k, v, positions, frequencies, at, spans;  // [T] i32, [D/2] f32, [1 or T] i32, [T,2] i32
};
Tensor cached_attention(Tensor k_cache, Tensor v_cache, const NewTokens& in, float scale);

// A token for each row of logits[T,V] -> [T] i32; no gradient. rows[T] i32 names the row of `of` whose settings apply:
// settings[R,8] f32 (kernels/sampling.h), seeds[R] i64, positions[R] i32 of the last tokens so far, and log[R,S] i32 of
// the tokens at each position, of which penalties see the last ones. -1 where a logit that could be chosen is not
// finite or the row is below 0. What is drawn is a function of logits, settings, seed and position, the same on every
// device.
struct Sampling {
    Tensor settings, seeds, positions, log;
};
Tensor sample(Tensor logits, Tensor rows, const Sampling& of);

// Makes chosen tokens the next to be read, token[t] in row rows[t] of the state: ids[R] becomes it, positions[R], at[R]
// and the end of spans[R,2] go on by one, and so does log[R,S] of the tokens at each position. A row that is full, or
// whose token is below 0, stops: its `at` becomes -1. Rows that have stopped, and below 0, are left as they are. All
// i32.
struct Reading {
    Tensor ids, positions, spans, at, log;
};
void next_token(const Reading& state, Tensor rows, Tensor token);

Tensor silu(Tensor x);
Tensor swiglu(Tensor gate, Tensor up);  // silu(gate) * up

Tensor add(Tensor a, Tensor b);
Tensor mul(Tensor a, Tensor b);
Tensor scale(Tensor x, double factor);
Tensor scale_by(Tensor x, Tensor s);                              // s[1]
Tensor broadcast(Tensor s, const Shape& shape, double factor);    // factor * s[1] everywhere
Tensor full(Graph& graph, const TensorType& type, double value);  // a constant
Tensor accumulate(Tensor sum, Tensor x);                          // state sum += x; the new version
// The same of several states, each other ones, in one step (of terms of one type).
void accumulate(const std::vector<Tensor>& sums, const std::vector<Tensor>& terms);
Tensor fill(Tensor state, double value);  // overwrites a state; the new version

Tensor cast(Tensor x, DType to);
Tensor softmax(Tensor x);  // over the last dimension
Tensor sum(Tensor x);      // [1]
Tensor mean(Tensor x);     // [1]
Tensor dropout(Tensor x, Tensor rng, const DropoutParams& params);

// Views share their input's memory.
Tensor reshape(Tensor x, const Shape& shape);  // x is copied if it is not contiguous
Tensor transpose(Tensor x, int axis0, int axis1);
Tensor slice(Tensor x, int axis, int64_t begin, int64_t end);
// The rows of a [M,C], then those of b [N,C].
Tensor concat_rows(Tensor a, Tensor b);
Tensor contiguous(Tensor x);  // x itself, or a copy

// logits[T,V], labels[T] i32 -> sum of the losses of labelled rows [1]
Tensor cross_entropy(Tensor logits, Tensor labels);

// cross_entropy(x w^T, labels) in chunks, the logits never whole. The gradients wanted later are computed on the way.
Tensor linear_cross_entropy(Tensor x, Tensor w, Tensor labels, HeadGradient gradient, int chunk = 256);

// Updates, all in place on flat ranges [N].
Tensor global_norm(Tensor x);                     // [1]
Tensor clip_factor(Tensor norm, float max_norm);  // [1]
struct AdamWInputs {
    Tensor gradient, rate, step, gradient_factor;  // [N], [1], [1] i64, [1]
};
void adamw(Tensor param, Tensor m, Tensor v, const AdamWInputs& in, const AdamWParams& params);
struct AdamW8State {
    Tensor m, v, m_scale, v_scale;  // u8[N], u8[N], f32[ceil(N/256)] twice
};
void adamw_8bit(Tensor param, const AdamW8State& state, const AdamWInputs& in, const AdamWParams& params);

Tensor quantize(Tensor x, DType to, QuantSpec spec);
Tensor dequantize(Tensor q, DType to = DType::f32);

}  // namespace ggq
