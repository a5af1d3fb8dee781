// lora_linear, forward and backward, over weights in NF4 and in the computing type, of rank 16 with dropout 0.05.
// Beside it the dense product of the same shape without LoRA, and that with the dequantization: what NF4 and LoRA cost.
#include "bench/support/baselines.h"
#include "bench/support/shapes.h"
#include "ggq/op_table.h"
#include "kernels/params.h"

namespace ggq::bench {

namespace {

constexpr int64_t kRank = 16;

struct Layer {
    Input x, dy, w, a, b, xa, rng;
};

Layer layer(const Scale& scale, const Linear& l, int64_t m, DType format) {
    return {.x = uniform(scale.real, {m, l.k}),
            .dy = uniform(scale.real, {m, l.n}),
            .w = info(format).quantized ? quantized(format, {l.n, l.k}) : uniform(format, {l.n, l.k}, -0.05, 0.05),
            .a = uniform(DType::f32, {kRank, l.k}, -0.02, 0.02),
            .b = uniform(DType::f32, {l.n, kRank}, -0.02, 0.02),
            .xa = uniform(scale.real, {m, kRank}),
            .rng = counters({1, 7})};
}

void add_cases(Cases& cases, const Scale& scale, const Linear& l, int64_t m, DType format) {
    const std::string suffix = std::string(":") + name(format);
    const LoraParams params{.scaling = 2, .dropout = {.p = 0.05f}};
    const Layer t = layer(scale, l, m, format);
    std::vector<Baseline> baselines = {dense_baseline(scale, l, m)};
    if (info(format).quantized) baselines.push_back(dequantized_baseline(scale, l, m, format));
    cases.push_back({"lora_linear" + suffix,
                     l.name(),
                     m,
                     {.op = &lora_linear_op, .in = {t.x, t.w, t.a, t.b, t.rng}, .params = params},
                     baselines});
    const std::vector<Input> in = {t.dy, t.x, t.w, t.a, t.b, t.xa, t.rng};
    cases.push_back({"lora_linear_backward" + suffix,
                     l.name(),
                     m,
                     {.op = &lora_linear_backward_op, .in = in, .params = params},
                     baselines});
}

Cases lora(const Scale& scale) {
    Cases cases;
    for (const Linear& l : linears(scale))
        for (int64_t m : scale.rows())
            for (DType format : {DType::nf4, scale.real}) add_cases(cases, scale, l, m, format);
    return cases;
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) { return ggq::bench::run_family("lora", argc, argv, ggq::bench::lora); }
