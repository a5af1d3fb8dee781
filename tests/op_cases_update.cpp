// Cases of optimizer steps and of the quantized formats. A quantized result is read through dequantize.
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/code_maps.h"
#include "kernels/rounding.h"
#include "tests/op_cases.h"

namespace ggq::test {

namespace {

using In = const std::vector<Tensor>&;

constexpr AdamWParams kParams{0.9f, 0.99f, 1e-6f, 0.1f};

// The newest version of a state that was written in place.
Tensor newest(Tensor t) { return t.graph->bind(*t.graph->value(t).buffer); }

CaseInput parameter(CaseInput in) {
    in.kind = Kind::parameter;
    return frozen(std::move(in));
}

void add_adamw(std::vector<OpCase>& table, int64_t n, int64_t step) {
    const std::string name = case_name(adamw_op, "step " + std::to_string(step), n);
    const auto inputs = [&](const CaseInput& p) {
        return std::vector{p,
                           stat(state(normal({n}))),
                           stat(state(positive({n}))),
                           stat(frozen(normal({n}))),
                           stat(real({1}, {0.125})),
                           ints(DType::i64, {1}, {step}),
                           stat(real({1}, {0.5}))};
    };
    const Build build = [](In in) {
        adamw(in[0], in[1], in[2], {in[3], in[4], in[5], in[6]}, kParams);
        return std::vector{cast(newest(in[0]), in[1].dtype()), newest(in[1]), newest(in[2])};
    };
    table.push_back({name, &adamw_op, inputs(stat(parameter(normal({n})))), build});
    CaseInput half = kept_as(normal({n}), DType::bf16);
    half.kind = Kind::parameter;
    table.push_back({name + " bf16", &adamw_op, inputs(half), build});
    table.back().tolerance = 4e-3;  // float and double round some elements apart
}

void add_adamw_8bit(std::vector<OpCase>& table, int64_t n, int64_t step) {
    const int64_t n_blocks = ceil_div(n, kStateBlock);
    const auto codes = [&] { return state(below(DType::u8, {n}, 256)); };
    OpCase c{case_name(adamw_8bit_op, "step " + std::to_string(step), n),
             &adamw_8bit_op,
             {stat(parameter(normal({n}))), codes(), codes(), stat(state(positive({n_blocks}))),
              stat(state(positive({n_blocks}))), stat(frozen(normal({n}))), stat(real({1}, {0.125})),
              ints(DType::i64, {1}, {step}), stat(real({1}, {0.5}))},
             [](In in) {
                 adamw_8bit(in[0], {in[1], in[2], in[3], in[4]}, {in[5], in[6], in[7], in[8]}, kParams);
                 std::vector<Tensor> out;
                 for (size_t i = 0; i < 5; ++i) out.push_back(newest(in[i]));
                 return out;
             }};
    c.only_float = true;
    table.push_back(c);
}

void add_formats(std::vector<OpCase>& table, const Shape& s, DType dtype, QuantSpec spec) {
    const std::string variant =
        ggq::to_string(s) + " " + name(dtype) + "/" + std::to_string(spec.block) + (spec.double_quant ? " double" : "");
    table.push_back({"quantize " + variant, &quantize_op, {frozen(normal(s))}, [=](In in) {
                         return std::vector{dequantize(quantize(in[0], dtype, spec), in[0].dtype())};
                     }});
    table.push_back(
        {"dequantize " + variant, &dequantize_op, {kept_as(normal(s), dtype, spec), positive({1})}, [](In in) {
             return std::vector{dequantize(in[0], in[1].dtype())};
         }});
    for (DType to : {DType::f16, DType::bf16})
        table.push_back({"dequantize " + variant + " to " + name(to),
                         &dequantize_op,
                         {kept_as(normal(s), dtype, spec), positive({1})},
                         [to](In in) { return std::vector{cast(dequantize(in[0], to), in[1].dtype())}; }});
}

}  // namespace

void add_update_cases(std::vector<OpCase>& table) {
    for (int64_t n : {1, 15, 16, 17, 33, 257, 33001})
        for (int64_t step : {1, 9}) {
            add_adamw(table, n, step);
            add_adamw_8bit(table, n, step);
        }
    for (const Shape& s :
         {Shape{1}, Shape{1, 63}, Shape{64}, Shape{5, 13}, Shape{3, 43}, Shape{7, 67}, Shape{131, 257}}) {
        for (DType dtype : {DType::nf4, DType::fp4})
            for (int block : {64, 128, 256})
                for (bool twice : {false, true}) add_formats(table, s, dtype, {block, twice});
        add_formats(table, s, DType::int8, {});
    }
}

}  // namespace ggq::test
