// attention and its gradient on the CPU. FLOPs are those of the products that the spans ask for (2 products forward, 5
// backward, half of the square when causal), whatever the kernels compute beside; the bytes of decode are those of the
// keys and values.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "bench/products.h"
#include "kernels/cpu/attention_workspace.h"
#include "kernels/kernels.h"
#include "kernels/params.h"

namespace {

using namespace ggq;
using bench::pool;

// Inputs and outputs of a layer of T queries over S keys, causal at the end of the cache.
struct Layer {
    int64_t T, H, G, D, S;
    DType stored;
    std::vector<float> q, y, dy, dq, lse, dk, dv;
    std::vector<float> k, v;  // room for any dtype
    std::vector<int32_t> spans;
    bench::Buffer workspace;
    CpuContext ctx{&pool()};
    ParamBlock params;

    Layer(const benchmark::State& state, DType dtype)
        : T(state.range(0)),
          H(state.range(1)),
          G(state.range(2)),
          D(state.range(3)),
          S(state.range(4)),
          stored(dtype),
          workspace(std::max(cpu::attention_workspace(T, H, D, S, G, pool().size(), 4),
                             cpu::attention_backward_workspace(T, H, D, pool().size(), 4))),
          params(AttentionParams{1 / std::sqrt(static_cast<float>(D))}) {
        for (auto* x : {&q, &y, &dy, &dq}) x->resize(static_cast<size_t>(T * H * D));
        for (auto* x : {&k, &v, &dk, &dv}) x->resize(static_cast<size_t>(S * G * D));
        lse.resize(static_cast<size_t>(H * T));
        for (auto* x : {&q, &dy})
            for (size_t i = 0; i < x->size(); ++i) (*x)[i] = std::sin(static_cast<float>(i * 7919 % 10007));
        if (stored == DType::f32)
            for (auto* x : {&k, &v})
                for (size_t i = 0; i < x->size(); ++i) (*x)[i] = std::sin(static_cast<float>(i * 104729 % 10007));
        for (int64_t t = 0; t < T; ++t) {
            spans.push_back(0);
            spans.push_back(static_cast<int32_t>(S - T + t + 1));
        }
    }
    void forward() {
        const View out[] = {make_view(y.data(), DType::f32, {T, H, D}), make_view(lse.data(), DType::f32, {H, T})};
        const View in[] = {make_view(q.data(), DType::f32, {T, H, D}), make_view(k.data(), stored, {S, G, D}),
                           make_view(v.data(), stored, {S, G, D}), make_view(spans.data(), DType::i32, {T, 2})};
        cpu::attention[detect_cpu_isa()](ctx, {out, in, &params, workspace.span()});
    }
    void backward() {
        const Shape query{T, H, D}, key{S, G, D};
        const View out[] = {make_view(dq.data(), DType::f32, query), make_view(dk.data(), DType::f32, key),
                            make_view(dv.data(), DType::f32, key)};
        const View in[] = {make_view(dy.data(), DType::f32, query),    make_view(q.data(), DType::f32, query),
                           make_view(k.data(), DType::f32, key),       make_view(v.data(), DType::f32, key),
                           make_view(y.data(), DType::f32, query),     make_view(lse.data(), DType::f32, {H, T}),
                           make_view(spans.data(), DType::i32, {T, 2})};
        cpu::attention_backward[detect_cpu_isa()](ctx, {out, in, &params, workspace.span()});
    }
    // Of one product of queries and keys, as far as the spans reach.
    double product_flops() const {
        double pairs = 0;
        for (int64_t t = 0; t < T; ++t) pairs += spans[static_cast<size_t>(2 * t + 1)];
        return 2 * pairs * static_cast<double>(H * D);
    }
};

void BM_attention(benchmark::State& state) {
    Layer layer(state, DType::f32);
    for (auto _ : state) layer.forward();
    bench::report(state, 0, 2 * layer.product_flops());
}

void BM_attention_backward(benchmark::State& state) {
    Layer layer(state, DType::f32);
    layer.forward();
    for (auto _ : state) layer.backward();
    bench::report(state, 0, 5 * layer.product_flops());
}

void BM_attention_decode(benchmark::State& state, DType stored) {
    Layer layer(state, stored);
    for (auto _ : state) layer.forward();
    bench::report(state, static_cast<double>(2 * layer.S * layer.G * layer.D * info(stored).bytes),
                  2 * layer.product_flops());
}

void training_shapes(benchmark::internal::Benchmark* b) {
    b->ArgNames({"T", "H", "G", "D", "S"})->Unit(benchmark::kMillisecond)->UseRealTime();
    b->Args({512, 6, 6, 48, 512})
        ->Args({2048, 8, 8, 64, 2048})
        ->Args({2048, 8, 2, 64, 2048})
        ->Args({1024, 8, 2, 128, 1024});
}

void decode_shapes(benchmark::internal::Benchmark* b) {
    b->ArgNames({"T", "H", "G", "D", "S"})->Unit(benchmark::kMicrosecond)->UseRealTime();
    b->Args({1, 6, 6, 48, 256})->Args({1, 32, 8, 64, 4096})->Args({1, 32, 8, 128, 4096});
}

BENCHMARK(BM_attention)->Apply(training_shapes);
BENCHMARK(BM_attention_backward)->Apply(training_shapes);
BENCHMARK_CAPTURE(BM_attention_decode, f32, DType::f32)->Apply(decode_shapes);
BENCHMARK_CAPTURE(BM_attention_decode, f16, DType::f16)->Apply(decode_shapes);
BENCHMARK_CAPTURE(BM_attention_decode, bf16, DType::bf16)->Apply(decode_shapes);

}  // namespace
