// Cases of ops on weights in the formats of GGUF files, whose blocks hold their scales.
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "tests/op_cases.h"

namespace ggq::test {

namespace {

using In = const std::vector<Tensor>&;

constexpr DType kPackedFormats[] = {DType::q8_0, DType::q4_0, DType::q4_1, DType::q5_0,  DType::q5_1,
                                    DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_nl};

CaseInput packed(DType dtype, int64_t rows, int64_t cols) { return kept_as(normal({rows, cols}), dtype); }

Tensor plain(Tensor w, Tensor x) { return dequantize(w, x.dtype()); }

void add_products(std::vector<OpCase>& table, DType f, int64_t m, int64_t n, int64_t k) {
    const size_t first = table.size();
    table.push_back({case_name(quant_matmul_op, name(f), m, n, k),
                     &quant_matmul_op,
                     {normal({m, k}), packed(f, n, k)},
                     [](In in) { return std::vector{linear(in[0], in[1])}; },
                     [](In in) { return std::vector{matmul(in[0], plain(in[1], in[0]))}; }});
    table.push_back({case_name(linear_input_gradient_op, name(f), m, n, k),
                     &linear_input_gradient_op,
                     {frozen(normal({m, n})), packed(f, n, k), frozen(normal({m, k}))},
                     row(linear_input_gradient_op),
                     [](In in) {
                         const Tensor w = transpose(plain(in[1], in[0]), 0, 1);
                         return std::vector{add(in[2], matmul(in[0], w))};
                     }});
    table.back().floor = 1;
    for (size_t i = first; i < table.size(); ++i) table[i].rounds_operand = true;
}

void add_adapted(std::vector<OpCase>& table, DType f, int64_t m, int64_t n, int64_t k) {
    table.push_back({case_name(lora_linear_op, name(f), m, n, k),
                     &lora_linear_op,
                     {normal({m, k}), packed(f, n, k), normal({m, 4}), normal({n, 4})},
                     [](In in) { return std::vector{lora_linear(in[0], in[1], in[2], in[3], 1.5)}; },
                     [](In in) {
                         const Tensor y = matmul(in[0], plain(in[1], in[0]));
                         return std::vector{add(y, scale(matmul(in[2], in[3]), 1.5))};
                     }});
    table.back().floor = 1;
}

void add_table(std::vector<OpCase>& table, DType f, int64_t T, int64_t V, int64_t C) {
    table.push_back({case_name(embedding_op, name(f), T, V, C),
                     &embedding_op,
                     {packed(f, V, C), below(DType::i32, {T}, V), positive({1})},
                     [](In in) { return std::vector{embedding(in[0], in[1], in[2].dtype())}; },
                     [](In in) { return std::vector{embedding(plain(in[0], in[2]), in[1], in[2].dtype())}; }});
    table.push_back(
        {case_name(linear_cross_entropy_op, name(f), T, V, C),
         &linear_cross_entropy_op,
         {normal({T, C}), packed(f, V, C), labels(T, V, 3)},
         [](In in) { return std::vector{linear_cross_entropy(in[0], in[1], in[2], HeadGradient::input, 4)}; },
         [](In in) { return std::vector{cross_entropy(matmul(in[0], plain(in[1], in[0])), in[2])}; }});
    table.back().rounds_operand = true;
}

}  // namespace

void add_packed_cases(std::vector<OpCase>& table) {
    for (DType f : kPackedFormats) {
        add_products(table, f, 3, 5, 256);
        add_products(table, f, 1, 12, 512);
        add_products(table, f, 20, 9, 256);
        add_table(table, f, 7, 11, 256);
    }
    for (DType f : {DType::q4_0, DType::q6_k}) add_adapted(table, f, 9, 7, 256);
    add_products(table, DType::q8_0, 2, 3, 32);
}

}  // namespace ggq::test
