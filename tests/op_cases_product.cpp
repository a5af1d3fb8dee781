// Cases of products: dense ones over views, products with a quantized weight, LoRA.
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "tests/op_cases.h"

namespace ggq::test {

namespace {

using In = const std::vector<Tensor>&;

struct Sizes {
    int64_t m, n, k;
};

constexpr Sizes kSizes[] = {{1, 1, 1},    {1, 17, 33}, {3, 5, 7},   {8, 16, 64},
                            {15, 16, 17}, {17, 15, 9}, {9, 33, 31}, {70, 261, 401}};

// How an operand [rows, k] reaches the product: as it is, or as a view of a larger or transposed tensor.
enum class Look { plain, transposed, first_rows, last_columns };

Shape behind(Look look, int64_t rows, int64_t k) {
    switch (look) {
        case Look::transposed: return {k, rows};
        case Look::first_rows: return {rows + 2, k};
        case Look::last_columns: return {rows, k + 3};
        default: return {rows, k};
    }
}

Tensor seen(Look look, Tensor x, int64_t rows) {
    switch (look) {
        case Look::transposed: return transpose(x, 0, 1);
        case Look::first_rows: return slice(x, 0, 0, rows);
        case Look::last_columns: return slice(x, 1, 3, x.shape()[1]);
        default: return x;
    }
}

void add_matmul(std::vector<OpCase>& table, const Sizes& s) {
    constexpr Look kLooks[][2] = {{Look::plain, Look::plain},
                                  {Look::transposed, Look::plain},
                                  {Look::plain, Look::transposed},
                                  {Look::transposed, Look::transposed},
                                  {Look::last_columns, Look::first_rows},
                                  {Look::first_rows, Look::last_columns}};
    const Sizes at = s;
    int form = 0;
    for (const auto& [x, w] : kLooks)
        table.push_back(
            {case_name(matmul_op, "form " + std::to_string(form++), s.m, s.n, s.k),
             &matmul_op,
             {normal(behind(x, s.m, s.k)), normal(behind(w, s.n, s.k))},
             [at, x = x, w = w](In in) { return std::vector{matmul(seen(x, in[0], at.m), seen(w, in[1], at.n))}; }});
    for (DType dtype : {DType::f16, DType::bf16})
        table.push_back({case_name(matmul_op, std::string("with ") + name(dtype), s.m, s.n, s.k),
                         &matmul_op,
                         {normal({s.m, s.k}), kept_as(normal({s.n, s.k}), dtype)},
                         [](In in) { return std::vector{matmul(in[0], in[1])}; }});
}

struct Format {
    DType dtype;
    QuantSpec spec;
};

constexpr Format kQuantFormats[] = {{DType::nf4, {64, true}},  {DType::nf4, {128, false}}, {DType::nf4, {256, true}},
                                    {DType::fp4, {64, false}}, {DType::fp4, {128, true}},  {DType::int8, {}}};

std::string to_string(const Format& f) {
    return std::string(name(f.dtype)) + "/" + std::to_string(f.spec.block) + (f.spec.double_quant ? " double" : "");
}

void add_quantized(std::vector<OpCase>& table, const Sizes& s, const Format& f) {
    const auto weight = [&] { return kept_as(normal({s.n, s.k}), f.dtype, f.spec); };
    table.push_back({case_name(quant_matmul_op, to_string(f), s.m, s.n, s.k),
                     &quant_matmul_op,
                     {normal({s.m, s.k}), weight()},
                     [](In in) { return std::vector{linear(in[0], in[1])}; },
                     [](In in) { return std::vector{matmul(in[0], dequantize(in[1], in[0].dtype()))}; }});
    table.push_back({case_name(linear_input_gradient_op, to_string(f) + " sum", s.m, s.n, s.k),
                     &linear_input_gradient_op,
                     {frozen(normal({s.m, s.n})), weight(), frozen(normal({s.m, s.k}))},
                     row(linear_input_gradient_op),
                     [](In in) {
                         const Tensor w = dequantize(in[1], in[0].dtype());
                         return std::vector{add(in[2], matmul(in[0], transpose(w, 0, 1)))};
                     }});
    table.back().floor = 1;  // sum and product may cancel
    table.push_back({case_name(linear_input_gradient_op, to_string(f), s.m, s.n, s.k),
                     &linear_input_gradient_op,
                     {frozen(normal({s.m, s.n})), weight()},
                     row(linear_input_gradient_op),
                     [](In in) {
                         const Tensor w = dequantize(in[1], in[0].dtype());
                         return std::vector{matmul(in[0], transpose(w, 0, 1))};
                     }});
    for (size_t i = table.size() - 3; i < table.size(); ++i) table[i].rounds_operand = true;
}

std::vector<Tensor> composed_linear(In in, double scaling) {
    const Tensor w = info(in[1].dtype()).quantized ? dequantize(in[1], in[0].dtype()) : in[1];
    const Tensor y = add(matmul(in[0], w), scale(matmul(in[2], in[3]), scaling));
    return {in.size() > 4 ? add(in[4], y) : y};
}

void add_lora_linear(std::vector<OpCase>& table, const Sizes& s, int64_t rank, const std::string& variant,
                     const CaseInput& w) {
    constexpr double kScaling = 1.5;
    for (bool with_sum : {false, true}) {
        std::vector<CaseInput> in{normal({s.m, s.k}), w, normal({s.m, rank}), normal({s.n, rank})};
        if (with_sum) in.push_back(normal({s.m, s.n}));
        table.push_back(
            {case_name(lora_linear_op, variant + (with_sum ? " sum" : ""), s.m, s.n, s.k, rank), &lora_linear_op, in,
             [=](In t) {
                 return std::vector{lora_linear(t[0], t[1], t[2], t[3], kScaling, with_sum ? t[4] : Tensor{})};
             },
             [=](In t) { return composed_linear(t, kScaling); }});
        table.back().floor = 1;
    }
}

// Of n linears that share x.
void add_lora_down(std::vector<OpCase>& table, const Sizes& s, int64_t rank, int n, float p) {
    const size_t first = table.size();
    const std::string variant = std::to_string(n) + (p > 0 ? " dropout" : "");
    const DropoutParams dropped{p, 9, 16};
    const auto each = [&](std::vector<CaseInput> in, const CaseInput& repeated) {
        in.insert(in.end(), static_cast<size_t>(n), repeated);
        return in;
    };
    const auto site = [=](int i) {
        DropoutParams params = dropped;
        params.site += static_cast<uint32_t>(i);
        return params;
    };
    const CaseInput x = normal({s.m, s.k}), a = normal({rank, s.k}), dxa = frozen(stat(normal({s.m, rank})));
    table.push_back({case_name(lora_down_op, variant, s.m, s.k, rank), &lora_down_op, each({x, rng()}, a),
                     [=](In t) {
                         return lora_down(t[0], t[1], {t.begin() + 2, t.end()}, dropped);
                     },
                     [=](In t) {
                         std::vector<Tensor> xa;
                         for (int i = 0; i < n; ++i)
                             xa.push_back(matmul(dropout(t[0], t[1], site(i)), t[static_cast<size_t>(2 + i)]));
                         return xa;
                     }});
    table.push_back({case_name(lora_down_backward_op, variant, s.m, s.k, rank), &lora_down_backward_op,
                     each({frozen(x), rng()}, dxa), [=](In t) {
                         return t[0].graph->append(lora_down_backward_op, {t.begin(), t.end()}, dropped);
                     }});
    table.push_back({case_name(lora_down_input_gradient_op, variant, s.m, s.k, rank), &lora_down_input_gradient_op,
                     each(each({frozen(x), rng()}, frozen(a)), dxa),
                     [=](In t) {
                         return t[0].graph->append(lora_down_input_gradient_op, {t.begin(), t.end()}, dropped);
                     },
                     [=](In t) {
                         Tensor dx = t[0];
                         for (int i = 0; i < n; ++i) {
                             const Tensor down = t[static_cast<size_t>(2 + i)], g = t[static_cast<size_t>(2 + n + i)];
                             const Tensor wide = matmul(cast(g, down.dtype()), transpose(down, 0, 1));
                             dx = add(dx, dropout(wide, t[1], site(i)));
                         }
                         return std::vector{dx};
                     }});
    table.back().rounds_operand = true;
    for (size_t i = first; i < table.size(); ++i) table[i].floor = 1;
}

void add_lora_linear_backward(std::vector<OpCase>& table, const Sizes& s, int64_t rank) {
    table.push_back({case_name(lora_linear_backward_op, "", s.m, s.n, rank),
                     &lora_linear_backward_op,
                     {frozen(normal({s.m, s.n})), frozen(normal({s.m, rank})), frozen(normal({s.n, rank}))},
                     [](In t) {
                         return t[0].graph->append(lora_linear_backward_op, {t.begin(), t.end()}, ScaleParams{1.5});
                     }});
    table.back().floor = 1;
}

}  // namespace

void add_product_cases(std::vector<OpCase>& table) {
    for (const Sizes& s : kSizes) {
        add_matmul(table, s);
        for (const Format& f : kQuantFormats) add_quantized(table, s, f);
        const int64_t rank = s.m < 3 ? s.m : s.m < 16 ? 5 : 16;
        add_lora_linear(table, s, rank, "dense", frozen(normal({s.n, s.k})));
        add_lora_linear(table, s, rank, "bf16", kept_as(normal({s.n, s.k}), DType::bf16));
        for (const Format& f : kQuantFormats)
            add_lora_linear(table, s, rank, to_string(f), kept_as(normal({s.n, s.k}), f.dtype, f.spec));
        add_lora_linear_backward(table, s, rank);
        for (float p : {0.0f, 0.3f})
            for (int n : {1, 3}) add_lora_down(table, s, rank, n, p);
    }
}

// Some rows and few rows of 4-bit weights, more than one tile each way, k in parts.
void add_large_product_cases(std::vector<OpCase>& table) {
    for (const Sizes& s : {Sizes{20, 140, 448}, Sizes{5, 70, 320}, Sizes{40, 300, 1088}, Sizes{300, 136, 264}}) {
        add_matmul(table, s);
        for (const Format& f : kQuantFormats) add_quantized(table, s, f);
    }
    for (const Format& f : kQuantFormats) add_quantized(table, {8, 33, 11008}, f);
    for (const Sizes& s : {Sizes{600, 72, 136}, Sizes{40, 300, 1088}}) {
        add_lora_linear(table, s, 16, "dense", frozen(normal({s.n, s.k})));
        add_lora_linear(table, s, 16, "nf4", kept_as(normal({s.n, s.k}), DType::nf4, {64, true}));
        add_lora_linear_backward(table, s, 16);
        for (float p : {0.0f, 0.3f})
            for (int n : {1, 2, 3}) add_lora_down(table, s, 16, n, p);
    }
    // Enough tiles, small and large ones, to fill a card: one product with its update and sum.
    add_lora_linear(table, {1000, 1704, 136}, 64, "dense", frozen(normal({1704, 136})));
    add_lora_linear(table, {1000, 4000, 72}, 16, "nf4", kept_as(normal({4000, 72}), DType::nf4, {64, true}));
    for (const auto& [s, rank] : {std::pair{Sizes{300, 288, 576}, 5}, std::pair{Sizes{150, 64, 320}, 24},
                                  std::pair{Sizes{150, 320, 96}, 64}, std::pair{Sizes{20, 96, 64}, 100}}) {
        add_lora_linear(table, s, rank, "dense", frozen(normal({s.n, s.k})));
        add_lora_linear_backward(table, s, rank);
        for (float p : {0.0f, 0.3f})
            for (int n : {1, 2, 3}) add_lora_down(table, s, rank, n, p);
    }
}

}  // namespace ggq::test
