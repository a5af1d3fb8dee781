// The parts of adapted linears at rank 16 with dropout 0.05: the product with its update, over weights in NF4 and in
// the computing type, and the low-rank ops, which read their large operand once. Beside it the dense product of the
// same shape without LoRA, and that with the dequantization: what NF4 and LoRA cost.
#include "bench/support/baselines.h"
#include "bench/support/shapes.h"
#include "ggq/op_table.h"
#include "kernels/params.h"

namespace ggq::bench {

namespace {

constexpr int64_t kRank = 16;

constexpr DropoutParams kDropout{.p = 0.05f, .site = 1};

Input low_rank(DType dtype, int64_t rows) { return uniform(dtype, {rows, kRank}, -0.02, 0.02); }

void add_product(Cases& cases, const Scale& scale, const Linear& l, int64_t m, DType format) {
    const Input x = uniform(scale.real, {m, l.k});
    const Input w = info(format).quantized ? quantized(format, {l.n, l.k}) : uniform(format, {l.n, l.k}, -0.05, 0.05);
    std::vector<Baseline> baselines = {dense_baseline(scale, l, m)};
    if (info(format).quantized) baselines.push_back(dequantized_baseline(scale, l, m, format));
    cases.push_back({"lora_linear:" + std::string(name(format)),
                     l.name(),
                     m,
                     {.op = &lora_linear_op,
                      .in = {x, w, low_rank(scale.real, m), low_rank(scale.real, l.n)},
                      .params = ScaleParams{2}},
                     baselines});
}

// Over x[m,k] that n linears share, and over dy[m,k].
void add_low_rank(Cases& cases, const Scale& scale, int64_t m, int64_t k, size_t n) {
    const std::string suffix = ":" + std::to_string(n), shape = std::to_string(k);
    const Input x = uniform(scale.real, {m, k}), rng = counters({1, 7});
    const std::vector<Input> a(n, uniform(scale.real, {kRank, k}, -0.02, 0.02)), dxa(n, low_rank(DType::f32, m));
    const auto call = [&](const OpDef& op, std::vector<Input> in, const std::vector<Input>& more) {
        in.insert(in.end(), more.begin(), more.end());
        return Call{.op = &op, .in = std::move(in), .params = kDropout};
    };
    const Call into_x = call(lora_down_input_gradient_op, {x, rng}, a);
    cases.push_back({"lora_down" + suffix, shape, m, call(lora_down_op, {x, rng}, a)});
    cases.push_back({"lora_down_backward" + suffix, shape, m, call(lora_down_backward_op, {x, rng}, dxa)});
    cases.push_back({"lora_down_input_gradient" + suffix, shape, m, call(lora_down_input_gradient_op, into_x.in, dxa)});
    if (n > 1) return;
    cases.push_back({"lora_linear_backward",
                     shape,
                     m,
                     {.op = &lora_linear_backward_op,
                      .in = {x, low_rank(scale.real, m), low_rank(scale.real, k)},
                      .params = ScaleParams{2}}});
}

Cases lora(const Scale& scale) {
    Cases cases;
    for (const Linear& l : linears(scale))
        for (int64_t m : scale.rows())
            for (DType format : {DType::nf4, scale.real}) add_product(cases, scale, l, m, format);
    const std::vector<int64_t> widths =
        scale.on_gpu || scale.large ? std::vector<int64_t>{1024, 4096, 14336} : std::vector<int64_t>{2048};
    for (int64_t k : widths)
        for (int64_t m : scale.rows())
            for (size_t n : {size_t{1}, size_t{2}, size_t{3}}) add_low_rank(cases, scale, m, k, n);
    return cases;
}

}  // namespace

}  // namespace ggq::bench

int main(int argc, char** argv) { return ggq::bench::run_family("lora", argc, argv, ggq::bench::lora); }
