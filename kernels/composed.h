// Fused ops of text generation as rows of plain kernels: what a device does where it has no kernel of its own for a
// call. What the plain kernels make stands in the workspace, and behind it what they want themselves.
//
// Plain names the plain kernels of one device, or of one instruction set, and the Context that they take; it stands in
// the file that includes this, so that nothing here is compiled for one instruction set and linked into another.
#pragma once

#include <initializer_list>
#include <span>

#include "kernels/check.h"
#include "kernels/composed_workspace.h"
#include "kernels/formats.h"
#include "kernels/kernel.h"
#include "kernels/params.h"

namespace ggq {

template <typename Plain>
class Composed {
public:
    using Context = typename Plain::Context;
    using Kernel = void (*)(const Context&, const KernelArgs&);

    Composed(const Context& ctx, const KernelArgs& args) : args_(args), ctx_(ctx), rest_(args.workspace) {}

    // out q, k, v; in x, norm, wq, wk, wv
    void norm_qkv() {
        const View x = norm(args_.in[0], args_.in[1], args_.template param<RmsNormParams>().eps);
        for (size_t i = 0; i < 3; ++i) linear(args_.out[i], x, args_.in[2 + i]);
    }

    // out y; in x, norm, gate, up
    void norm_swiglu() {
        const View& y = args_.out[0];
        const View x = norm(args_.in[0], args_.in[1], args_.template param<RmsNormParams>().eps);
        const View gate = take(y.dtype, y.shape), up = take(y.dtype, y.shape);
        linear(gate, x, args_.in[2]);
        linear(up, x, args_.in[3]);
        run(Plain::swiglu, {y}, {gate, up});
    }

    // out q, k, v; in x, norm, wq, wk, wv, aq, bq, ak, bk, av, bv
    void lora_norm_qkv() {
        const View x = norm(args_.in[0], args_.in[1], eps());
        for (size_t i = 0; i < 3; ++i) adapted(i, args_.out[i], x, args_.in[2 + i], 5);
    }

    // out y; in x, norm, gate, up, ag, bg, au, bu
    void lora_norm_swiglu() {
        const View &y = args_.out[0], x = norm(args_.in[0], args_.in[1], eps());
        const View gate = take(y.dtype, y.shape), up = take(y.dtype, y.shape);
        adapted(0, gate, x, args_.in[2], 4);
        adapted(1, up, x, args_.in[3], 4);
        run(Plain::swiglu, {y}, {gate, up});
    }

    // out y; in r, x, w, a, b
    void lora_add_linear() {
        const View& y = args_.out[0];
        const View product = take(y.dtype, y.shape);
        adapted(0, product, args_.in[1], args_.in[2], 3);
        run(Plain::add, {y}, {args_.in[0], product});
    }

    // out k_cache, v_cache, y; in k_cache, v_cache, q, k, v, positions, frequencies, at, spans
    void cached_attention() {
        const View &k_cache = args_.out[0], &v_cache = args_.out[1], &y = args_.out[2];
        const View &q = args_.in[2], &k = args_.in[3], &v = args_.in[4];
        const View turned_q = take(q.dtype, q.shape), turned_k = take(k.dtype, k.shape);
        const View lse = take(q.dtype == DType::f64 ? DType::f64 : DType::f32, {q.shape[1], q.shape[0]});
        run(Plain::rope, {turned_q}, {q, args_.in[5], args_.in[6]}, RopeParams{});
        run(Plain::rope, {turned_k}, {k, args_.in[5], args_.in[6]}, RopeParams{});
        run(Plain::cache_write, {k_cache}, {k_cache, turned_k, args_.in[7]});
        run(Plain::cache_write, {v_cache}, {v_cache, v, args_.in[7]});
        run(Plain::attention, {y, lse}, {turned_q, k_cache, v_cache, args_.in[8]},
            args_.template param<AttentionParams>());
    }

    // out y; in r, x, w
    void add_linear() {
        const View& y = args_.out[0];
        const View product = take(y.dtype, y.shape);
        linear(product, args_.in[1], args_.in[2]);
        run(Plain::add, {y}, {args_.in[0], product});
    }

private:
    View take(DType dtype, const Shape& shape) {
        const auto n = static_cast<size_t>(composed_bytes(storage_bytes(dtype, shape, {})));
        GGQ_ASSERT(n <= rest_.size(), "workspace too small");
        const View v = make_view(rest_.data(), dtype, shape);
        rest_ = rest_.subspan(n);
        return v;
    }

    void run(Kernel kernel, std::initializer_list<View> out, std::initializer_list<View> in,
             const ParamBlock& params = {}) const {
        kernel(ctx_, {{out.begin(), out.size()}, {in.begin(), in.size()}, &params, rest_});
    }

    void linear(const View& y, const View& x, const View& w) const {
        run(info(w.dtype).quantized ? Plain::quant_matmul : Plain::matmul, {y}, {x, w});
    }

    View norm(const View& x, const View& w, float eps) {
        const View y = take(x.dtype, x.shape);
        const View rstd = take(x.dtype == DType::f64 ? DType::f64 : DType::f32, {x.shape[0]});
        run(Plain::rms_norm, {y, rstd}, {x, w}, RmsNormParams{eps});
        return y;
    }

    float eps() const { return args_.template param<AdaptedParams>().eps; }

    // With the i-th of the adapters that stand from input `first` on, a and b of each.
    void adapted(size_t i, const View& y, const View& x, const View& w, size_t first) {
        const View &a = args_.in[first + 2 * i], &b = args_.in[first + 2 * i + 1];
        static int64_t no_rng[2] = {};  // there is no dropout
        const View xa = take(x.dtype, {x.shape[0], a.shape[0]}), rng = make_view(no_rng, DType::i64, {2});
        run(Plain::lora_down, {xa}, {x, rng, a}, DropoutParams{});
        const double scaling = static_cast<double>(args_.template param<AdaptedParams>().scaling[i]);
        run(Plain::lora_linear, {y}, {x, w, xa, b}, ScaleParams{scaling});
    }

    const KernelArgs& args_;
    const Context& ctx_;
    std::span<std::byte> rest_;
};

}  // namespace ggq
