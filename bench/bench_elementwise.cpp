// The kernels that memory bounds: bytes that must be read and written a second, as a share of what reading alone
// reaches. Tensors are far larger than the caches, or as large as in a small model's step.
#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "bench/products.h"
#include "kernels/code_maps.h"
#include "kernels/kernels.h"
#include "kernels/params.h"
#include "kernels/rounding.h"

namespace {

using namespace ggq;

// A tensor of its own memory, filled with values in [-1, 1] or with indices.
struct Tensor {
    bench::Buffer buffer;
    View view;

    Tensor(DType dtype, const Shape& shape)
        : buffer(storage_bytes(dtype, shape, {})), view(make_view(buffer.data(), dtype, shape)) {
        std::memset(buffer.data(), 0, buffer.span().size());
        const int64_t n = shape.n_elems();
        for (int64_t i = 0; i < n; ++i) {
            if (dtype == DType::f32) view.as<float>()[i] = static_cast<float>(i * 7919 % 10007) / 5003.5f - 1;
            if (dtype == DType::i32) view.as<int32_t>()[i] = static_cast<int32_t>(i * 7919 % 101);
            if (dtype == DType::i64) view.as<int64_t>()[i] = 1;
        }
    }
};

std::vector<View> views(const std::vector<Tensor>& tensors) {
    std::vector<View> all;
    for (const Tensor& t : tensors) all.push_back(t.view);
    return all;
}

// Times one kernel; the bytes are those of all its tensors, in-out ones counted twice.
void run(benchmark::State& state, const CpuKernel& kernel, const std::vector<Tensor>& out,
         const std::vector<Tensor>& in, const ParamBlock& params, size_t n_inout = 0) {
    const std::vector<View> out_views = views(out);
    std::vector<View> in_views(out_views.begin(), out_views.begin() + static_cast<std::ptrdiff_t>(n_inout));
    for (const Tensor& t : in) in_views.push_back(t.view);
    double bytes = 0;
    for (const View& v : out_views) bytes += static_cast<double>(storage_bytes(v.dtype, v.shape, {}));
    for (const View& v : in_views) bytes += static_cast<double>(storage_bytes(v.dtype, v.shape, {}));
    const KernelArgs args{out_views, in_views, &params, {}};
    const CpuContext ctx{&bench::pool()};
    for (auto _ : state) kernel[detect_cpu_isa()](ctx, args);
    bench::report(state, bytes, 0);
}

std::vector<Tensor> tensors(int n, DType dtype, const Shape& shape) {
    std::vector<Tensor> made;
    for (int i = 0; i < n; ++i) made.emplace_back(dtype, shape);
    return made;
}

// Elementwise kernels over [rows, columns]: one output, the rest inputs.
void BM_elementwise(benchmark::State& state, const CpuKernel& kernel, int n_in) {
    const Shape shape{state.range(0), state.range(1)};
    run(state, kernel, tensors(1, DType::f32, shape), tensors(n_in, DType::f32, shape), {});
}

void BM_swiglu_backward(benchmark::State& state) {
    const Shape shape{state.range(0), state.range(1)};
    run(state, cpu::swiglu_backward, tensors(2, DType::f32, shape), tensors(3, DType::f32, shape), {});
}

void BM_accumulate(benchmark::State& state) {
    const Shape shape{state.range(0), state.range(1)};
    run(state, cpu::accumulate, tensors(1, DType::f32, shape), tensors(1, DType::f32, shape), {}, 1);
}

void BM_cast(benchmark::State& state, DType to) {
    const Shape shape{state.range(0), state.range(1)};
    run(state, cpu::cast, tensors(1, to, shape), tensors(1, DType::f32, shape), {});
}

void BM_rms_norm(benchmark::State& state) {
    const int64_t T = state.range(0), C = state.range(1);
    std::vector<Tensor> out = tensors(1, DType::f32, {T, C}), in = tensors(1, DType::f32, {T, C});
    out.emplace_back(DType::f32, Shape{T});
    in.emplace_back(DType::f32, Shape{C});
    run(state, cpu::rms_norm, out, in, RmsNormParams{});
}

void BM_rms_norm_backward(benchmark::State& state) {
    const int64_t T = state.range(0), C = state.range(1);
    std::vector<Tensor> out = tensors(1, DType::f32, {T, C}), in = tensors(2, DType::f32, {T, C});
    out.emplace_back(DType::f32, Shape{C});
    in.emplace_back(DType::f32, Shape{C});
    in.emplace_back(DType::f32, Shape{T});
    run(state, cpu::rms_norm_backward, out, in, {});
}

void BM_rope(benchmark::State& state) {
    const int64_t T = state.range(0), D = 64, H = state.range(1) / D;
    std::vector<Tensor> in = tensors(1, DType::f32, {T, H, D});
    in.emplace_back(DType::i32, Shape{T});
    in.emplace_back(DType::f32, Shape{D / 2});
    run(state, cpu::rope, tensors(1, DType::f32, {T, H, D}), in, RopeParams{});
}

void BM_cross_entropy(benchmark::State& state) {
    const int64_t T = state.range(0), V = state.range(1);
    std::vector<Tensor> out = tensors(1, DType::f32, {1}), in = tensors(1, DType::f32, {T, V});
    out.emplace_back(DType::f32, Shape{T});
    in.emplace_back(DType::i32, Shape{T});
    run(state, cpu::cross_entropy, out, in, {});
}

void BM_global_norm(benchmark::State& state) {
    run(state, cpu::global_norm, tensors(1, DType::f32, {1}), tensors(1, DType::f32, {state.range(0) * state.range(1)}),
        {});
}

// g, lr, step, grad_factor
std::vector<Tensor> update_inputs(int64_t n) {
    std::vector<Tensor> in = tensors(1, DType::f32, {n});
    in.emplace_back(DType::f32, Shape{1});
    in.emplace_back(DType::i64, Shape{1});
    in.emplace_back(DType::f32, Shape{1});
    return in;
}

void BM_adamw(benchmark::State& state) {
    const int64_t n = state.range(0) * state.range(1);
    std::vector<Tensor> out = tensors(3, DType::f32, {n});
    std::memset(out[2].buffer.data(), 0, out[2].buffer.span().size());
    run(state, cpu::adamw, out, update_inputs(n), AdamWParams{}, 3);
}

void BM_adamw_8bit(benchmark::State& state) {
    const int64_t n = state.range(0) * state.range(1);
    std::vector<Tensor> out = tensors(1, DType::f32, {n});
    for (const DType dtype : {DType::u8, DType::f32})
        for (int i = 0; i < 2; ++i) out.emplace_back(dtype, Shape{dtype == DType::u8 ? n : ceil_div(n, kStateBlock)});
    run(state, cpu::adamw_8bit, out, update_inputs(n), AdamWParams{}, 5);
}

void sizes(benchmark::internal::Benchmark* b) {
    b->ArgNames({"rows", "columns"})->Unit(benchmark::kMicrosecond)->UseRealTime();
    b->Args({512, 768})->Args({4096, 4096});
}

BENCHMARK_CAPTURE(BM_elementwise, add, cpu::add, 2)->Apply(sizes);
BENCHMARK_CAPTURE(BM_elementwise, silu, cpu::silu, 1)->Apply(sizes);
BENCHMARK_CAPTURE(BM_elementwise, swiglu, cpu::swiglu, 2)->Apply(sizes);
BENCHMARK_CAPTURE(BM_elementwise, softmax, cpu::softmax, 1)->Apply(sizes);
BENCHMARK(BM_swiglu_backward)->Apply(sizes);
BENCHMARK(BM_accumulate)->Apply(sizes);
BENCHMARK_CAPTURE(BM_cast, bf16, DType::bf16)->Apply(sizes);
BENCHMARK_CAPTURE(BM_cast, f16, DType::f16)->Apply(sizes);
BENCHMARK(BM_rms_norm)->Apply(sizes);
BENCHMARK(BM_rms_norm_backward)->Apply(sizes);
BENCHMARK(BM_rope)->Apply(sizes);
BENCHMARK(BM_cross_entropy)->Apply(sizes);
BENCHMARK(BM_global_norm)->Apply(sizes);
BENCHMARK(BM_adamw)->Apply(sizes);
BENCHMARK(BM_adamw_8bit)->Apply(sizes);

}  // namespace
