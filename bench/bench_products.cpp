// y[m,n] = x[m,k] w[n,k]^T with weights in the computing type and in the quantized formats, and dx = dy w. Floors: the
// bytes of each tensor once, which with few rows are the weight's, and 2 m n k FLOP. Beside them the dense product of
// the same shape (cuBLAS on a GPU), and dequantizing with that product after it.
#include "bench/support/baselines.h"
#include "bench/support/shapes.h"
#include "ggq/op_table.h"

namespace ggq::bench {

namespace {

void add_product(Cases& cases, const Scale& scale, const Linear& l, int64_t m) {
    const Input x = uniform(scale.real, {m, l.k}), w = uniform(scale.real, {l.n, l.k});
    cases.push_back({"matmul", l.name(), m, {.op = &matmul_op, .in = {x, w}}, {dense_baseline(scale, l, m)}});
}

void add_quantized(Cases& cases, const Scale& scale, const Linear& l, int64_t m, DType format) {
    const std::string suffix = std::string(":") + name(format);
    const std::vector<Baseline> baselines = {dense_baseline(scale, l, m), dequantized_baseline(scale, l, m, format)};
    const Input x = uniform(scale.real, {m, l.k}), dy = uniform(scale.real, {m, l.n}),
                w = quantized(format, {l.n, l.k});
    cases.push_back({"quant_matmul" + suffix, l.name(), m, {.op = &quant_matmul_op, .in = {x, w}}, baselines});
    if (format == DType::nf4)
        cases.push_back({"linear_input_gradient" + suffix,
                         l.name(),
                         m,
                         {.op = &linear_input_gradient_op, .in = {dy, w}},
                         baselines});
}

Cases products(const Scale& scale) {
    Cases cases;
    for (const Linear& l : linears(scale))
        for (int64_t m : scale.product_rows()) {
            add_product(cases, scale, l, m);
            for (DType format : {DType::nf4, DType::int8}) add_quantized(cases, scale, l, m, format);
        }
    return cases;
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) { return ggq::bench::run_family("products", argc, argv, ggq::bench::products); }
