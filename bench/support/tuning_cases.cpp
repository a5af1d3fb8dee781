#include "bench/support/tuning_cases.h"

#include <algorithm>
#include <cmath>

#include "ggq/error.h"
#include "ggq/op_table.h"
#include "kernels/cuda/tuning.h"
#include "kernels/params.h"

namespace ggq::bench {

namespace {

using Shapes = std::vector<Linear>;

bool is_large(const Linear& l) { return l.n * l.k >= cuda::kLargeMatrix; }

// Products with so many rows.
Cases products(const Scale& scale, const Shapes& shapes, const std::vector<int64_t>& rows) {
    Cases cases;
    for (const Linear& l : shapes)
        for (int64_t m : rows) {
            const std::vector<Input> in = {uniform(scale.real, {m, l.k}), quantized(DType::nf4, {l.n, l.k})};
            cases.push_back({"quant_matmul:nf4", l.name(), m, {.op = &quant_matmul_op, .in = in}});
        }
    return cases;
}

Cases some_rows(const Scale& scale, Shapes shapes, bool large) {
    std::erase_if(shapes, [=](const Linear& l) { return is_large(l) != large; });
    return products(scale, shapes, {12, 20, 28, 40, 56, 64});
}

Cases dequantized(const Scale& scale, const Shapes& shapes) {
    Cases cases;
    for (const Linear& l : shapes)
        cases.push_back(
            {"dequantize:nf4",
             l.name(),
             l.n,
             {.op = &dequantize_op, .in = {quantized(DType::nf4, {l.n, l.k})}, .params = CastParams{scale.real}}});
    return cases;
}

Call attention_call(DType real, const Heads& h, int64_t T, bool backward) {
    const Shape query{T, h.queries, h.size}, key{T, h.keys, h.size};
    const Input q = uniform(real, query), k = uniform(real, key), spans = causal_spans(T, T);
    Call call{.op = &attention_op,
              .in = {q, k, k, spans},
              .params = AttentionParams{1 / std::sqrt(static_cast<float>(h.size))},
              .keys_a_query = static_cast<double>(T + 1) / 2};
    if (!backward) return call;
    const Input lse = constant(DType::f32, {h.queries, T}, std::log(static_cast<double>(T)));
    call.op = &attention_backward_op;
    call.in = {q, q, k, k, q, lse, spans};
    return call;
}

Cases attention(const Scale& scale, bool backward) {
    Cases cases;
    for (const Heads& h : {Heads{32, 8, 64}, Heads{32, 8, 128}})
        for (int64_t T : {512, 2048, 8192})
            cases.push_back({backward ? "attention_backward" : "attention", h.name(), T,
                             attention_call(scale.real, h, T, backward)});
    return cases;
}

struct Row {
    const char* choice;
    Cases (*cases)(const Scale& scale, const Shapes& shapes);
};

const Row kRows[] = {
    {"few_rows",
     [](const Scale& s, const Shapes& l) {
         return products(s, l, {2, 3, 4, 6, 8});
     }},
    {"some_rows", [](const Scale& s, const Shapes& l) { return some_rows(s, l, false); }},
    {"some_rows_large", [](const Scale& s, const Shapes& l) { return some_rows(s, l, true); }},
    {"some_rows_blocks",
     [](const Scale& s, const Shapes& l) {
         return products(s, l, {16, 32});
     }},
    {"one_row", [](const Scale& s, const Shapes& l) { return products(s, l, {1}); }},
    {"attention_hopper", [](const Scale& s, const Shapes&) { return attention(s, false); }},
    {"attention_backward_hopper", [](const Scale& s, const Shapes&) { return attention(s, true); }},
    {"dequantize", [](const Scale& s, const Shapes& l) { return dequantized(s, l); }},
};

static_assert(std::size(kRows) == std::size(cuda::kTuningRows));

}  // namespace

Cases tuning_cases(const std::string& choice, const Scale& scale, const std::vector<Linear>& shapes) {
    for (const Row& row : kRows)
        if (choice == row.choice) return row.cases(scale, shapes);
    std::string names;
    for (const Row& row : kRows) names += (names.empty() ? "" : ", ") + std::string(row.choice);
    fail("--rows: expected some of {}, got '{}'", names, choice);
}

}  // namespace ggq::bench
