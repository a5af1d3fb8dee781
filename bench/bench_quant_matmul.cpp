// y[m,n] = x[m,k] w[n,k]^T with w in NF4 (blocks of 64, double quantization). Floor: 4.13 bits a weight from memory,
// and 2 m n k FLOP. With few rows the share of the read bandwidth counts, with many that of the multiply-add rate.
#include "bench/products.h"
#include "kernels/cpu/workspace.h"
#include "kernels/kernels.h"

using namespace ggq;
using namespace ggq::bench;

static void BM_quant_matmul(benchmark::State& state) {
    const int64_t n = state.range(0), k = state.range(1), m = state.range(2);
    Matrix plain = random_matrix(n, k), quantized(DType::nf4, n, k), y(DType::f32, m, n);
    const Matrix x = random_matrix(m, k);
    const Buffer workspace(
        std::max(cpu::matmul_workspace(m, k, pool().size(), 4), cpu::quantize_workspace(DType::nf4, n * k, 64, true)));
    run_kernel(cpu::quantize, {quantized.view}, {plain.view}, workspace.span());
    run_kernel(cpu::dequantize, {plain.view}, {quantized.view}, {});
    const std::vector<Matrix> weights = rotation_of(quantized);

    run_kernel(cpu::quant_matmul, {y.view}, {x.view, quantized.view}, workspace.span());
    if (!is_product(y.view, x.view, plain.view)) return state.SkipWithError("wrong result");
    size_t turn = 0;
    for (auto _ : state) {
        const Matrix& w = weights[turn++ % weights.size()];
        run_kernel(cpu::quant_matmul, {y.view}, {x.view, w.view}, workspace.span());
    }
    const auto flops = 2.0 * static_cast<double>(m * n * k);
    report(state, static_cast<double>(storage_bytes(DType::nf4, {n, k}, {})), flops);
}

BENCHMARK(BM_quant_matmul)
    ->ArgNames({"n", "k", "m"})
    ->ArgsProduct({{2048}, {2048}, {1, 4, 16, 64, 512}})
    ->ArgsProduct({{4096}, {4096}, {1, 4, 16, 64, 512}})
    ->ArgsProduct({{11008}, {4096}, {1, 4, 16, 64, 512}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
