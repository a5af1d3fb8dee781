#include "bench/support/baselines.h"

#include "bench/support/blas_calls.h"
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "kernels/params.h"

namespace ggq::bench {

namespace {

double dense_seconds(Backend& backend, const Scale& scale, const Linear& l, int64_t m) {
    constexpr int kCalls = 16;  // between two events: enough to hide what starting them takes
    if (scale.on_gpu)
        return blas_seconds(backend, scale.real, m, l.n, l.k, n_copies(info(scale.real).bytes * l.n * l.k), kCalls);
    return seconds_of(backend,
                      {.op = &matmul_op, .in = {uniform(scale.real, {m, l.k}), uniform(scale.real, {l.n, l.k})}});
}

double dequantize_seconds(Backend& backend, const Scale& scale, const Linear& l, DType format) {
    return seconds_of(backend,
                      {.op = &dequantize_op, .in = {quantized(format, {l.n, l.k})}, .params = CastParams{scale.real}});
}

Measurement dense(const Scale& scale, const Linear& l, int64_t m) {
    return {fmt::format("dense {} {}", l.name(), m),
            [=](Backend& backend) { return dense_seconds(backend, scale, l, m); }};
}

}  // namespace

Baseline dense_baseline(const Scale& scale, const Linear& l, int64_t m) {
    return {scale.on_gpu ? "cuBLAS" : "matmul", {dense(scale, l, m)}};
}

// The sum of two times: where a weight fits in the caches, one after the other would be somewhat faster.
Baseline dequantized_baseline(const Scale& scale, const Linear& l, int64_t m, DType format) {
    const Measurement dequantized = {fmt::format("{} {}", name(format), l.name()),
                                     [=](Backend& backend) { return dequantize_seconds(backend, scale, l, format); }};
    return {scale.on_gpu ? "dequantize+cuBLAS" : "dequantize+matmul", {dequantized, dense(scale, l, m)}};
}

}  // namespace ggq::bench
