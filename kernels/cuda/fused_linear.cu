// Linear layers of text generation with what stands around them: one launch for one row and 4-bit weights
// (one_row_4bit.cu), with an adapter too; two for several rows on Hopper (several_rows_4bit.cu), after the norm's; else
// a row of the plain kernels. Floor: the bytes of the weights.
#include <algorithm>
#include <span>

#include "kernels/composed.h"
#include "kernels/cuda/one_row_4bit.h"
#include "kernels/cuda/product_workspace.h"
#include "kernels/cuda/several_rows_4bit.h"
#include "kernels/kernels.h"

namespace ggq::cuda {

namespace {

struct Plain {
    using Context = CudaContext;
    static constexpr auto rms_norm = &cuda::rms_norm, matmul = &cuda::matmul, quant_matmul = &cuda::quant_matmul,
                          lora_down = &cuda::lora_down, lora_linear = &cuda::lora_linear, swiglu = &cuda::swiglu,
                          add = &cuda::add;
};

bool on_16(const View& v) { return reinterpret_cast<uintptr_t>(v.data) % 16 == 0; }

// All weights in one form.
bool takes(const CudaContext& ctx, const View& x, std::span<const View> weights) {
    const View& first = weights[0];
    const auto alike = [&](const View& w) {
        return w.dtype == first.dtype && w.quant.block == first.quant.block &&
               (w.quant.scales != nullptr) == (first.quant.scales != nullptr);
    };
    for (const View& w : weights)
        if (!one_row_takes(w.shape[0], w.shape[1], x.dtype, w.dtype, *ctx.device) || !alike(w)) return false;
    return x.shape[0] == 1 && on_16(x);
}

// x times the norm's weight, before it is divided by its size, may be too large for f16.
bool takes_norm(const View& x, const View& norm) { return x.dtype == DType::bf16 && on_16(norm); }

OneRow call_of(const View& x, std::span<const View> weights) {
    return {.x = x.data,
            .format = weights[0].dtype,
            .real = x.dtype,
            .k = static_cast<int>(x.shape[1]),
            .n_parts = static_cast<int>(weights.size()),
            .parts = {}};
}

void set_norm(OneRow& call, const View& norm, float eps) {
    call.norm = norm.data;
    call.norm_dtype = norm.dtype;
    call.eps = eps;
}

OneRowPart part(const View& w, const View& y, int64_t n_pairs) {
    return {.w = w.quant,
            .y = {.data = y.data, .dtype = y.dtype, .row_stride = y.shape[1]},
            .n_pairs = static_cast<int>(n_pairs)};
}

// The adapters, whose a and b stand side by side, of the parts of the call.
void set_adapters(const CudaContext& ctx, OneRow& call, std::span<const View> adapters, const KernelArgs& args) {
    const auto& scaling = args.param<AdaptedParams>().scaling;
    call.messages = ctx.messages;
    for (size_t i = 0; i < adapters.size() / 2; ++i) {
        const View &a = adapters[2 * i], &b = adapters[2 * i + 1];
        OneRowAdapter& adapter = call.parts[i].adapter;
        adapter = {.a = a.data,
                   .b = b.data,
                   .a_dtype = a.dtype,
                   .b_dtype = b.dtype,
                   .rank = static_cast<int>(a.shape[0]),
                   .scale = scaling[i]};
        call.n_ranks += adapter.rank;
    }
    const OneRowPart* parts = call.parts;
    for (int i = 0; i < call.n_parts; ++i)
        call.adapter_bytes = std::max(call.adapter_bytes, 2 * parts[i].adapter.row_bytes());
    if (call.gated) call.adapter_bytes = parts[0].adapter.row_bytes() + parts[1].adapter.row_bytes();
}

// Whether the launch takes them: rows of b in whole 16 bytes, not too many of a.
bool takes_adapters(std::span<const View> adapters) {
    int64_t n_ranks = 0;
    for (size_t i = 0; i < adapters.size(); i += 2) {
        const View& b = adapters[i + 1];
        n_ranks += b.shape[1];
        if (b.shape[1] * info(b.dtype).bytes % 16 != 0) return false;
    }
    return n_ranks <= kMostMessages && std::ranges::all_of(adapters, on_16);
}

// ---- several rows

Product product(const View& x, const View& w, const View& y) {
    return {.m = x.shape[0],
            .n = w.shape[0],
            .k = x.shape[1],
            .x = operand(x),
            .w = operand(w),
            .y = {.data = y.data, .dtype = y.dtype, .row_stride = y.shape[1]},
            .real = x.dtype};
}

// All weights in one form. A normalized x will lie as x does.
bool takes_several(const CudaContext& ctx, const View& x, std::span<const View> weights) {
    const View& first = weights[0];
    return std::ranges::all_of(weights, [&](const View& w) {
        return several_rows_takes(ctx, product(x, w, x)) && w.dtype == first.dtype &&
               (w.quant.scales != nullptr) == (first.quant.scales != nullptr);
    });
}

void run_several(const CudaContext& ctx, const View& x, std::span<const View> weights, std::span<const View> y,
                 SeveralRows call, Scratch scratch) {
    const SeveralRows first = several_rows_call(product(x, weights[0], y[0]));
    call.x = first.x, call.x_stride = first.x_stride;
    call.format = first.format, call.real = first.real, call.m = first.m, call.k = first.k;
    call.n_parts = static_cast<int>(weights.size());
    for (size_t i = 0; i < weights.size(); ++i)
        call.parts[i] = several_rows_call(product(x, weights[i], y[i])).parts[0];
    several_rows_4bit(ctx, call, scratch);
}

// x normalized, in the workspace.
View normalized(const CudaContext& ctx, const KernelArgs& args, Scratch& scratch) {
    const View &x = args.in[0], &norm = args.in[1];
    const int64_t T = x.shape[0];
    const View y = make_view(scratch.take(T * x.shape[1] * info(x.dtype).bytes), x.dtype, x.shape);
    const View out[] = {y, make_view(scratch.take(T * 4), DType::f32, {T})}, in[] = {x, norm};
    const ParamBlock params = RmsNormParams{args.param<RmsNormParams>().eps};
    rms_norm(ctx, {out, in, &params, args.workspace.subspan(args.workspace.size())});
    return y;
}

}  // namespace

void norm_qkv(const CudaContext& ctx, const KernelArgs& args) {
    const View &x = args.in[0], &norm = args.in[1];
    const auto weights = args.in.subspan(2);
    if (takes_several(ctx, x, weights)) {
        Scratch scratch(args.workspace);
        const View h = normalized(ctx, args, scratch);
        return run_several(ctx, h, weights, args.out, {.parts = {}}, scratch);
    }
    if (!takes(ctx, x, weights) || !takes_norm(x, norm)) return Composed<Plain>(ctx, args).norm_qkv();
    OneRow call = call_of(x, weights);
    set_norm(call, norm, args.param<RmsNormParams>().eps);
    for (size_t i = 0; i < 3; ++i) call.parts[i] = part(weights[i], args.out[i], weights[i].shape[0] / 2);
    one_row_4bit(ctx, call);
}

void norm_swiglu(const CudaContext& ctx, const KernelArgs& args) {
    const View &x = args.in[0], &norm = args.in[1];
    const auto weights = args.in.subspan(2);
    if (takes_several(ctx, x, weights)) {
        Scratch scratch(args.workspace);
        const View h = normalized(ctx, args, scratch), y[] = {args.out[0], args.out[0]};
        return run_several(ctx, h, weights, y, {.gated = true, .parts = {}}, scratch);
    }
    if (!takes(ctx, x, weights) || !takes_norm(x, norm)) return Composed<Plain>(ctx, args).norm_swiglu();
    OneRow call = call_of(x, weights);
    set_norm(call, norm, args.param<RmsNormParams>().eps);
    call.gated = true;
    for (size_t i = 0; i < 2; ++i) call.parts[i] = part(weights[i], args.out[0], weights[i].shape[0]);
    one_row_4bit(ctx, call);
}

void add_linear(const CudaContext& ctx, const KernelArgs& args) {
    const View &r = args.in[0], &x = args.in[1];
    const auto weights = args.in.subspan(2);
    if (takes_several(ctx, x, weights))
        return run_several(ctx, x, weights, args.out, {.add = r.data, .parts = {}}, Scratch(args.workspace));
    if (!takes(ctx, x, weights)) return Composed<Plain>(ctx, args).add_linear();
    OneRow call = call_of(x, weights);
    call.add = r.data;
    call.parts[0] = part(weights[0], args.out[0], weights[0].shape[0] / 2);
    one_row_4bit(ctx, call);
}

void lora_norm_qkv(const CudaContext& ctx, const KernelArgs& args) {
    const View &x = args.in[0], &norm = args.in[1];
    const auto weights = args.in.subspan(2, 3), adapters = args.in.subspan(5);
    if (!takes(ctx, x, weights) || !takes_norm(x, norm) || !takes_adapters(adapters))
        return Composed<Plain>(ctx, args).lora_norm_qkv();
    OneRow call = call_of(x, weights);
    set_norm(call, norm, args.param<AdaptedParams>().eps);
    for (size_t i = 0; i < 3; ++i) call.parts[i] = part(weights[i], args.out[i], weights[i].shape[0] / 2);
    set_adapters(ctx, call, adapters, args);
    if (!one_row_fits(call, *ctx.device)) return Composed<Plain>(ctx, args).lora_norm_qkv();
    one_row_4bit(ctx, call);
}

void lora_norm_swiglu(const CudaContext& ctx, const KernelArgs& args) {
    const View &x = args.in[0], &norm = args.in[1];
    const auto weights = args.in.subspan(2, 2), adapters = args.in.subspan(4);
    if (!takes(ctx, x, weights) || !takes_norm(x, norm) || !takes_adapters(adapters))
        return Composed<Plain>(ctx, args).lora_norm_swiglu();
    OneRow call = call_of(x, weights);
    set_norm(call, norm, args.param<AdaptedParams>().eps);
    call.gated = true;
    for (size_t i = 0; i < 2; ++i) call.parts[i] = part(weights[i], args.out[0], weights[i].shape[0]);
    set_adapters(ctx, call, adapters, args);
    if (!one_row_fits(call, *ctx.device)) return Composed<Plain>(ctx, args).lora_norm_swiglu();
    one_row_4bit(ctx, call);
}

void lora_add_linear(const CudaContext& ctx, const KernelArgs& args) {
    const View &r = args.in[0], &x = args.in[1];
    const auto weights = args.in.subspan(2, 1), adapters = args.in.subspan(3);
    if (!takes(ctx, x, weights) || !takes_adapters(adapters)) return Composed<Plain>(ctx, args).lora_add_linear();
    OneRow call = call_of(x, weights);
    call.add = r.data;
    call.parts[0] = part(weights[0], args.out[0], weights[0].shape[0] / 2);
    set_adapters(ctx, call, adapters, args);
    if (!one_row_fits(call, *ctx.device)) return Composed<Plain>(ctx, args).lora_add_linear();
    one_row_4bit(ctx, call);
}

}  // namespace ggq::cuda
