// Softmax attention with grouped heads. Which keys a query sees is a span of key indices, so causality, document
// boundaries and a KV cache are all the same op (the tiling follows Dao, FlashAttention-2, 2023).
#include <algorithm>

#include "ggq/backward.h"
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/composed_workspace.h"
#include "kernels/cpu/attention_workspace.h"
#include "kernels/cuda/attention_workspace.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void attention_gradient(Gradients& g) {
    const auto d = g.graph().append(attention_backward_op,
                                    {g.dy(), g.in(0), g.in(1), g.in(2), g.out(0), g.out(1), g.in(3)}, g.step().params);
    for (int i = 0; i < 3; ++i)
        if (g.needs(i)) g.set(i, d[static_cast<size_t>(i)]);
}

// Two products over the keys that the spans name; where those are not known, as if every query saw half of all keys,
// which is right for one document and too much for several.
double attention_flops(const OpCall& call) {
    const Shape &q = call.in[0].shape, &k = call.in[1].shape;
    const double keys = call.keys_a_query > 0 ? call.keys_a_query : static_cast<double>(k[0]) / 2;
    return 4.0 * static_cast<double>(q.n_elems()) * keys;
}

void check_cuda_head_size(const OpCall& c, int64_t size) {
    require(size <= cuda::kMostHeadSize, "[{}]{}{}: heads of {} are more than the {} that CUDA takes; use `device` cpu",
            c.op.name, c.where.empty() ? "" : " ", c.where, size, cuda::kMostHeadSize);
}

}  // namespace

const OpDef attention_op = {
    .name = "attention",
    .signature = "q~:real[T,H,D] k~:float[S,G,D] v~:float[S,G,D] spans:i32[T,2] -> y[T,H,D] lse:stat[H,T]",
    .gradient = attention_gradient,
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            const Shape &q = c.in[0].shape, &k = c.in[1].shape;
            return cpu::attention_workspace(q[0], q[1], q[2], k[0], k[1], n_threads, real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device&) {
            const Shape& q = c.in[0].shape;
            check_cuda_head_size(c, q[2]);
            return cuda::attention_workspace(q[0], q[1], q[2], c.in[1].shape[0]);
        },
    .flops = attention_flops,
    .kernel = kernels::attention,
};

const OpDef attention_backward_op = {
    .name = "attention_backward",
    .signature =
        "dy:real[T,H,D] q~:real[T,H,D] k~:real[S,G,D] v~:real[S,G,D] y:real[T,H,D] lse:stat[H,T] "
        "spans:i32[T,2] -> dq[T,H,D] dk[S,G,D] dv[S,G,D]",
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            const Shape& q = c.in[1].shape;
            return cpu::attention_backward_workspace(q[0], q[1], q[2], n_threads, real_bytes(c));
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            const Shape &q = c.in[1].shape, &k = c.in[2].shape;
            check_cuda_head_size(c, q[2]);
            return cuda::attention_backward_workspace(q[0], q[1], q[2], k[0], k[1], c.in[1].dtype, device);
        },
    .flops =
        [](const OpCall& c) {
            return 2.5 * attention_flops({c.op, c.in.subspan(1), c.out, c.params, c.where, c.keys_a_query});
        },
    .kernel = kernels::attention_backward,
};

const OpDef window_spans_op = {
    .name = "window_spans",
    .signature = "spans:i32[T,2] -> y:i32[T,2]",
    .kernel = kernels::window_spans,
};

const OpDef cache_write_op = {
    .name = "cache_write",
    .signature = "cache!:float[S,G,D] x:real[T,G,D] at:i32[A] ->",
    .bytes =
        [](const OpCall& c) {
            const TensorType rows{c.out[0].dtype, c.in[1].shape, {}};  // of the cache, those that are written
            return c.in[1].bytes() + c.in[2].bytes() + rows.bytes();
        },
    .kernel = kernels::cache_write,
};

namespace {

int64_t composed_attention_bytes(const OpCall& c) {
    const Shape &q = c.in[2].shape, &k = c.in[3].shape;
    return ggq::composed_attention_bytes(q[0], q[1], k[1], q[2], info(c.in[2].dtype).bytes);
}

}  // namespace

const OpDef cached_attention_op = {
    .name = "cached_attention",
    .signature =
        "k_cache!:float[S,G,D] v_cache!:float[S,G,D] q:real[T,H,D] k:real[T,G,D] v:real[T,G,D] positions:i32[T] "
        "frequencies:f32[D/2] at:i32[A] spans:i32[T,2] -> y[T,H,D]",
    .cpu_workspace =
        [](const OpCall& c, int n_threads) {
            const Shape &q = c.in[2].shape, &cache = c.in[0].shape;
            return composed_attention_bytes(c) +
                   cpu::attention_workspace(q[0], q[1], q[2], cache[0], cache[1], n_threads, info(c.in[2].dtype).bytes);
        },
    .cuda_workspace =
        [](const OpCall& c, const cuda::Device& device) {
            const Shape &q = c.in[2].shape, &cache = c.in[0].shape;
            check_cuda_head_size(c, q[2]);
            const int64_t bytes = composed_attention_bytes(c) + cuda::attention_workspace(q[0], q[1], q[2], cache[0]);
            if (c.in[7].shape[0] == 1) return bytes;
            return std::max(bytes, cuda::batch_attention_workspace(q[0], q[1], q[2], cache[1], device));
        },
    .flops =
        [](const OpCall& c) {
            const TensorType of_attention[] = {c.in[2], c.in[0]};
            return attention_flops({c.op, of_attention, c.out, c.params, c.where, c.keys_a_query});
        },
    // Rows of the caches are written by the token; those that are read are taken to be half of them.
    .bytes =
        [](const OpCall& c) {
            return 2 * (c.in[2].bytes() + c.in[3].bytes() + c.in[4].bytes()) + c.in[0].bytes() / 2 +
                   c.in[1].bytes() / 2;
        },
    .kernel = kernels::cached_attention,
};

Tensor window_spans(Tensor spans, int64_t n_keys) {
    return spans.graph->append(window_spans_op, {spans}, WindowParams{static_cast<int32_t>(n_keys)})[0];
}

Tensor attention(Tensor q, Tensor k, Tensor v, Tensor spans, float scale) {
    require(k.shape().rank == 3 && q.shape().rank == 3 && k.shape()[1] > 0 && q.shape()[1] % k.shape()[1] == 0,
            "[attention] k: expected key heads that divide the query heads, got q {} and k {}", to_string(q.shape()),
            to_string(k.shape()));
    return q.graph->append(attention_op, {q, k, v, spans}, AttentionParams{scale})[0];
}

namespace {

void require_places(const char* op, Tensor x, Tensor at) {
    const int64_t n = at.shape().n_elems();
    require(n == 1 || n == x.shape()[0], "[{}] at: expected one row of the cache, or one for each of {} tokens, got {}",
            op, x.shape()[0], n);
}

}  // namespace

Tensor cached_attention(Tensor k_cache, Tensor v_cache, const NewTokens& in, float scale) {
    require_places(cached_attention_op.name, in.k, in.at);
    return in.q.graph->append(cached_attention_op,
                              {k_cache, v_cache, in.q, in.k, in.v, in.positions, in.frequencies, in.at, in.spans},
                              AttentionParams{scale})[2];
}

Tensor cache_write(Tensor cache, Tensor x, Tensor at) {
    require_places(cache_write_op.name, x, at);
    return cache.graph->append(cache_write_op, {cache, x, at})[0];
}

}  // namespace ggq
