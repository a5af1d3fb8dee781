// y[m,n] = x[m,k] w[n,k]^T in float32. Floor: 2 m n k FLOP; with few rows the bytes of w.
#include "bench/products.h"
#include "kernels/cpu/workspace.h"
#include "kernels/kernels.h"

using namespace ggq;
using namespace ggq::bench;

static void BM_matmul(benchmark::State& state) {
    const int64_t n = state.range(0), k = state.range(1), m = state.range(2);
    const Matrix x = random_matrix(m, k), w = random_matrix(n, k);
    const Matrix y(DType::f32, m, n);
    const Buffer workspace(cpu::matmul_workspace(m, k, pool().size(), 4));
    const std::vector<Matrix> weights = rotation_of(w);

    run_kernel(cpu::matmul, {y.view}, {x.view, w.view}, workspace.span());
    if (!is_product(y.view, x.view, w.view)) return state.SkipWithError("wrong result");
    size_t turn = 0;
    for (auto _ : state) {
        const Matrix& turn_w = weights[turn++ % weights.size()];
        run_kernel(cpu::matmul, {y.view}, {x.view, turn_w.view}, workspace.span());
    }
    report(state, 4.0 * static_cast<double>(n * k), 2.0 * static_cast<double>(m * n * k));
}

BENCHMARK(BM_matmul)
    ->ArgNames({"n", "k", "m"})
    ->ArgsProduct({{288}, {288}, {64, 256, 1024}})
    ->ArgsProduct({{768}, {288}, {256}})
    ->ArgsProduct({{4096}, {4096}, {1, 4, 8, 16, 64, 512, 2048}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);
