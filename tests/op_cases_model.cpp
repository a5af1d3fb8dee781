// Cases of the ops around a language model's layers: embedding, norm, rotation, and the losses.
#include <cmath>

#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "tests/op_cases.h"

namespace ggq::test {

namespace {

using In = const std::vector<Tensor>&;

// Of the ids[n] that are input `at`.
CaseInput one_hot(size_t at, int64_t n, int64_t n_classes) {
    return real_of(at, {n, n_classes}, [=](const CaseInput& ids) {
        std::vector<double> values;
        for (double id : ids.values)
            for (int64_t v = 0; v < n_classes; ++v) values.push_back(static_cast<double>(v) == id ? 1 : 0);
        return values;
    });
}

void add_embedding(std::vector<OpCase>& table, int64_t V, int64_t C, int64_t T) {
    const CaseInput ids = below(DType::i32, {T}, V);
    table.push_back({case_name(embedding_op, "", V, C, T),
                     &embedding_op,
                     {normal({V, C}), ids, one_hot(1, T, V)},
                     [](In in) { return std::vector{embedding(in[0], in[1], in[0].dtype())}; },
                     [](In in) { return std::vector{matmul(in[2], transpose(in[0], 0, 1))}; }});
    for (DType dtype : {DType::f16, DType::bf16})
        table.push_back({case_name(embedding_op, std::string("of ") + name(dtype), V, C, T),
                         &embedding_op,
                         {kept_as(normal({V, C}), dtype), ids, positive({1})},
                         [](In in) { return std::vector{embedding(in[0], in[1], in[2].dtype())}; }});
    table.push_back(
        {case_name(embedding_op, "to bf16", V, C, T), &embedding_op, {frozen(normal({V, C})), ids}, [](In in) {
             return std::vector{cast(embedding(in[0], in[1], DType::bf16), in[0].dtype())};
         }});
    table.push_back({case_name(embedding_backward_op, "", V, C, T),
                     &embedding_backward_op,
                     {frozen(normal({T, C})), ids, frozen(normal({V, C}))},
                     row(embedding_backward_op)});
}

void add_rms_norm(std::vector<OpCase>& table, int64_t T, int64_t C) {
    constexpr float kEps = 1e-5f;
    const size_t first = table.size();
    table.push_back({case_name(rms_norm_op, "", T, C), &rms_norm_op, {normal({T, C}), normal({C})}, [](In in) {
                         return std::vector{rms_norm(in[0], in[1], kEps)};
                     }});
    table.push_back({case_name(rms_norm_op, "with bf16", T, C),
                     &rms_norm_op,
                     {normal({T, C}), kept_as(normal({C}), DType::bf16)},
                     [](In in) { return std::vector{rms_norm(in[0], in[1], kEps)}; }});
    for (int n_out : {1, 2})
        for (bool with_sum : {false, true})
            table.push_back(
                {case_name(rms_norm_backward_op, std::string(n_out == 2 ? "with dw" : "") + (with_sum ? " sum" : ""), T,
                           C),
                 &rms_norm_backward_op,
                 {frozen(normal({T, C})), frozen(normal({T, C})), frozen(normal({C})), frozen(normal({T, C}))},
                 [=](In in) {
                     Graph& graph = *in[0].graph;
                     const ParamBlock params = RmsNormParams{kEps};
                     std::vector<Tensor> all{in[0], in[1], in[2], graph.append(rms_norm_op, {in[1], in[2]}, params)[1]};
                     if (with_sum) all.push_back(in[3]);
                     return graph.append(rms_norm_backward_op, all, {}, n_out);
                 }});
    for (size_t i = first; i < table.size() && C == 1; ++i) table[i].floor = 1;  // x / |x|: dx is all cancelled
}

// y = x * cos + (x P^T) * sin, where P swaps the halves of a head and negates what comes first.
std::vector<double> turned(const CaseInput& positions, const std::vector<double>& frequencies, int64_t H,
                           double (*part)(double angle)) {
    std::vector<double> values;
    for (double position : positions.values)
        for (size_t i = 0; i < static_cast<size_t>(H) * 2 * frequencies.size(); ++i)
            values.push_back(part(position * frequencies[i % frequencies.size()]));
    return values;
}

CaseInput swap_of_halves(int64_t D) {
    const auto half = static_cast<size_t>(D / 2), width = 2 * half;
    std::vector<double> swap(width * width, 0);
    for (size_t i = 0; i < half; ++i) {
        swap[i * width + i + half] = -1;
        swap[(i + half) * width + i] = 1;
    }
    return real({D, D}, swap);
}

std::vector<double> frequencies_of(int64_t n) {
    std::vector<double> values;
    for (int64_t i = 0; i < n; ++i)
        values.push_back(static_cast<float>(std::pow(0.1, static_cast<double>(i) / static_cast<double>(n))));
    return values;
}

void add_rope(std::vector<OpCase>& table, int64_t T, int64_t H, int64_t D) {
    const Shape s{T, H, D}, flat{T * H, D};
    const CaseInput positions = below(DType::i32, {T}, 50);
    CaseInput frequencies = real({D / 2}, frequencies_of(D / 2));
    frequencies.real = false;
    const auto table_of = [&](double (*part)(double)) {
        return real_of(1, flat, [=, f = frequencies.values](const CaseInput& at) { return turned(at, f, H, part); });
    };
    const std::vector<CaseInput> in{normal(s),
                                    positions,
                                    frequencies,
                                    table_of([](double angle) { return std::cos(angle); }),
                                    table_of([](double angle) { return std::sin(angle); }),
                                    swap_of_halves(D)};
    OpCase c{case_name(rope_op, "", T, H, D), &rope_op, in, [](In t) { return std::vector{rope(t[0], t[1], t[2])}; },
             [=](In t) {
                 const Tensor x = reshape(t[0], flat);
                 return std::vector{reshape(add(mul(x, t[3]), mul(matmul(x, t[5]), t[4])), s)};
             }};
    c.tolerance = 1e-5;
    table.push_back(c);
    c.name = case_name(rope_op, "of a slice of transposed", T, H, D);
    c.in = {normal({H + 2, T, D}), positions, frequencies};
    c.build = [=](In t) { return std::vector{rope(slice(transpose(t[0], 0, 1), 1, 1, H + 1), t[1], t[2])}; };
    c.twin = nullptr;
    table.push_back(c);
    c.name = case_name(rope_op, "of queries and keys", T, H, D);
    c.in = {normal(s), normal({T, 2, D}), positions, frequencies};
    c.build = [](In t) {
        const Rotated y = rope(t[0], t[1], t[2], t[3]);
        return std::vector{y.q, y.k};
    };
    c.twin = [](In t) { return std::vector{rope(t[0], t[2], t[3]), rope(t[1], t[2], t[3])}; };
    table.push_back(c);
}

void add_cross_entropy(std::vector<OpCase>& table, int64_t T, int64_t V, int ignored) {
    const std::string variant = "one in " + std::to_string(ignored) + " ignored";
    table.push_back({case_name(cross_entropy_op, variant, T, V),
                     &cross_entropy_op,
                     {normal({T, V}, 3), labels(T, V, ignored)},
                     [](In in) { return std::vector{cross_entropy(in[0], in[1])}; }});
    table.push_back({case_name(cross_entropy_backward_op, variant, T, V),
                     &cross_entropy_backward_op,
                     {positive({1}), frozen(normal({T, V}, 3)), labels(T, V, ignored)},
                     [](In in) {
                         Graph& graph = *in[0].graph;
                         const Tensor lse = graph.append(cross_entropy_op, {in[1], in[2]})[1];
                         return graph.append(cross_entropy_backward_op, {in[0], in[1], in[2], lse});
                     }});
}

void add_linear_cross_entropy(std::vector<OpCase>& table, const Shape& s, int chunk, int ignored) {
    const int64_t T = s[0], C = s[1], V = s[2];
    const auto add = [&](const char* variant, HeadGradient gradient, const CaseInput& x, const CaseInput& w) {
        table.push_back({case_name(linear_cross_entropy_op, variant, T, C, V) + " chunk " + std::to_string(chunk) +
                             " one in " + std::to_string(ignored) + " ignored",
                         &linear_cross_entropy_op,
                         {x, w, labels(T, V, ignored)},
                         [=](In in) { return std::vector{linear_cross_entropy(in[0], in[1], in[2], gradient, chunk)}; },
                         [](In in) { return std::vector{cross_entropy(matmul(in[0], in[1]), in[2])}; }});
    };
    const CaseInput x = normal({T, C}), w = normal({V, C});
    add("loss", HeadGradient::none, frozen(x), frozen(w));
    add("dx", HeadGradient::input, x, frozen(w));
    add("dx bf16", HeadGradient::input, x, kept_as(w, DType::bf16));
    add("dx dw", HeadGradient::input_and_weight, x, w);
    table.back().rounds_operand = true;
}

}  // namespace

void add_model_cases(std::vector<OpCase>& table) {
    for (const Shape& s : {Shape{1, 1, 1}, Shape{7, 15, 5}, Shape{11, 16, 33}, Shape{5, 17, 20}, Shape{300, 70, 500}})
        add_embedding(table, s[0], s[1], s[2]);
    for (const Shape& s : {Shape{1, 1}, Shape{3, 2}, Shape{2, 15}, Shape{3, 16}, Shape{5, 17}, Shape{7, 33},
                           Shape{65, 13}, Shape{131, 257}})
        add_rms_norm(table, s[0], s[1]);
    for (const Shape& s :
         {Shape{1, 1, 2}, Shape{3, 2, 6}, Shape{5, 3, 30}, Shape{7, 1, 34}, Shape{33, 5, 16}, Shape{131, 4, 66}})
        add_rope(table, s[0], s[1], s[2]);
    for (const Shape& s :
         {Shape{1, 1}, Shape{1, 7}, Shape{5, 15}, Shape{4, 16}, Shape{9, 17}, Shape{7, 33}, Shape{131, 257}})
        for (int ignored : {0, 3, 1}) add_cross_entropy(table, s[0], s[1], ignored);
    for (int ignored : {0, 3, 1}) {
        add_linear_cross_entropy(table, {1, 1, 1}, 256, ignored);
        add_linear_cross_entropy(table, {5, 7, 11}, 2, ignored);
        add_linear_cross_entropy(table, {9, 15, 17}, 256, ignored);
        add_linear_cross_entropy(table, {17, 16, 33}, 4, ignored);
        add_linear_cross_entropy(table, {131, 65, 257}, 32, ignored);
    }
}

void add_large_model_cases(std::vector<OpCase>& table) {
    for (int64_t C : {2048, 4096, 9000}) add_rms_norm(table, 3, C);
    add_rope(table, 3, 2, 512);
    add_rope(table, 5, 21, 128);
    add_rope(table, 9, 32, 64);
    add_cross_entropy(table, 3, 2201, 3);
    add_linear_cross_entropy(table, {70, 64, 2201}, 32, 3);
    add_linear_cross_entropy(table, {20, 16, 4096}, 8, 3);
    add_linear_cross_entropy(table, {20, 16, 33000}, 8, 3);
}

}  // namespace ggq::test
