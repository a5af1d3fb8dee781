// Cases of ops on contiguous tensors of any shape: activations, arithmetic, casts, softmax, sums, dropout.
#include <cmath>

#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/philox.h"
#include "tests/op_cases.h"

namespace ggq::test {

namespace {

using In = const std::vector<Tensor>&;

std::string named(const OpDef& op, const Shape& shape) { return std::string(op.name) + " " + to_string(shape); }

void add_activations(std::vector<OpCase>& table, const Shape& s) {
    table.push_back({named(silu_op, s), &silu_op, {normal(s, 3)}, [](In in) { return std::vector{silu(in[0])}; }});
    table.push_back({named(silu_backward_op, s),
                     &silu_backward_op,
                     {frozen(normal(s)), frozen(normal(s, 3))},
                     row(silu_backward_op)});
    table.push_back({named(swiglu_op, s),
                     &swiglu_op,
                     {normal(s, 3), normal(s)},
                     [](In in) { return std::vector{swiglu(in[0], in[1])}; },
                     [](In in) { return std::vector{mul(silu(in[0]), in[1])}; }});
    table.push_back({named(swiglu_backward_op, s),
                     &swiglu_backward_op,
                     {frozen(normal(s)), frozen(normal(s, 3)), frozen(normal(s))},
                     row(swiglu_backward_op)});
}

void add_arithmetic(std::vector<OpCase>& table, const Shape& s) {
    table.push_back(
        {named(add_op, s), &add_op, {normal(s), normal(s)}, [](In in) { return std::vector{add(in[0], in[1])}; }});
    table.push_back(
        {named(mul_op, s), &mul_op, {normal(s), normal(s)}, [](In in) { return std::vector{mul(in[0], in[1])}; }});
    table.push_back(
        {named(scale_op, s), &scale_op, {normal(s)}, [](In in) { return std::vector{scale(in[0], -0.75)}; }});
    table.push_back({named(scale_by_op, s),
                     &scale_by_op,
                     {normal(s), stat(normal({1}))},
                     [](In in) { return std::vector{scale_by(in[0], in[1])}; },
                     [s](In in) { return std::vector{mul(in[0], broadcast(in[1], s, 1))}; }});
    table.push_back({named(broadcast_op, s),
                     &broadcast_op,
                     {normal({1})},
                     [s](In in) { return std::vector{broadcast(in[0], s, 1.5)}; },
                     [s](In in) {
                         const Tensor factors = full(*in[0].graph, {in[0].dtype(), s, {}}, 1.5);
                         return std::vector{scale_by(factors, in[0])};
                     }});
    table.push_back({named(full_op, s), &full_op, {normal({1})}, [s](In in) {
                         const Tensor y = full(*in[0].graph, {in[0].dtype(), s, {}}, -2.5);
                         return std::vector{mul(y, broadcast(in[0], s, 1))};
                     }});
    table.push_back(
        {named(softmax_op, s), &softmax_op, {normal(s, 4)}, [](In in) { return std::vector{softmax(in[0])}; }});
    table.back().tolerance = 1e-5;
    // Where one weight of a row is nearly 1, all of its gradient is cancelled.
    table.back().floor = 1 / std::sqrt(static_cast<double>(s[s.rank - 1]));
    table.push_back({named(softmax_backward_op, s),
                     &softmax_backward_op,
                     {frozen(normal(s)), positive(s)},
                     row(softmax_backward_op)});
}

// In-place writes return the state's new version.
void add_state_writes(std::vector<OpCase>& table, const Shape& s) {
    table.push_back({named(accumulate_op, s), &accumulate_op, {state(normal(s)), frozen(normal(s))}, [](In in) {
                         return std::vector{accumulate(in[0], in[1])};
                     }});
    table.push_back({named(accumulate_op, s) + " of bf16",
                     &accumulate_op,
                     {state(normal(s)), kept_as(normal(s), DType::bf16)},
                     [](In in) { return std::vector{accumulate(in[0], in[1])}; }});
    // More pairs than one launch takes.
    const Shape wide{3, 40};
    std::vector<CaseInput> pairs;
    for (int i = 0; i < 2 * 18; ++i) {
        const CaseInput x = normal(i % 18 % 2 == 0 ? s : wide);
        pairs.push_back(i < 18 ? state(x) : frozen(x));
    }
    table.push_back({named(accumulate_op, s) + " of several", &accumulate_op, pairs, [](In in) {
                         std::vector<Tensor> sums(in.begin(), in.begin() + 18);
                         accumulate(sums, {in.begin() + 18, in.end()});
                         for (Tensor& t : sums) t = t.graph->bind(*t.graph->value(t).buffer);
                         return sums;
                     }});
    table.push_back(
        {named(fill_op, s), &fill_op, {state(normal(s))}, [](In in) { return std::vector{fill(in[0], 0.25)}; }});
}

// Values and step of the differentiated ones are exact in every type on the way.
void add_casts(std::vector<OpCase>& table, const Shape& s) {
    for (DType via : {DType::f32, DType::f64, DType::f16, DType::bf16}) {
        CaseInput x = info(via).bytes == 2 ? frozen(normal(s)) : sixty_fourths(s);
        OpCase c{named(cast_op, s) + " by " + name(via), &cast_op, {x}, [via](In in) {
                     return std::vector{cast(cast(in[0], via), in[0].dtype())};
                 }};
        c.step = 0.5;
        c.with_double = via == DType::f64;
        table.push_back(c);
    }
}

void add_sums(std::vector<OpCase>& table, const Shape& s) {
    table.push_back({named(sum_op, s),
                     &sum_op,
                     {normal(s)},
                     [](In in) { return std::vector{sum(in[0])}; },
                     [](In in) {
                         const Shape flat{1, in[0].shape().n_elems()};
                         const Tensor ones = full(*in[0].graph, {in[0].dtype(), flat, {}}, 1);
                         return std::vector{reshape(matmul(reshape(in[0], flat), ones), {1})};
                     }});
    table.push_back({named(sum_op, s) + " mean",
                     &sum_op,
                     {normal(s)},
                     [](In in) { return std::vector{mean(in[0])}; },
                     [s](In in) {
                         const double weight = 1.0 / static_cast<double>(s.n_elems());
                         return std::vector{sum(mul(in[0], full(*in[0].graph, in[0].type(), weight)))};
                     }});
    table.push_back({named(global_norm_op, s), &global_norm_op, {frozen(normal(s))}, [](In in) {
                         return std::vector{global_norm(in[0])};
                     }});
}

void add_dropout(std::vector<OpCase>& table, const Shape& s) {
    static constexpr DropoutParams kParams{0.3f, 5};
    constexpr uint64_t kSeed = 123456789012, kCounter = 77;
    std::vector<double> mask;
    for (int64_t i = 0; i < s.n_elems(); ++i) {
        const auto at = static_cast<uint64_t>(i);
        const Philox4 words = philox4x32(kSeed, kCounter << 32 | kParams.site, at / 8);
        const bool stays = half(words, static_cast<int>(at % 8)) >= 19661;  // 0.3 * 65536
        mask.push_back(stays ? 1 / (1 - static_cast<double>(kParams.p)) : 0);
    }
    table.push_back({named(dropout_op, s),
                     &dropout_op,
                     {normal(s), rng(kSeed, kCounter), real(s, mask)},
                     [](In in) { return std::vector{dropout(in[0], in[1], kParams)}; },
                     [](In in) { return std::vector{mul(in[0], in[2])}; }});
    table.push_back({named(dropout_op, s) + " of nothing",
                     &dropout_op,
                     {normal(s), rng()},
                     [](In in) {
                         return std::vector{dropout(in[0], in[1], {0, 1})};
                     },
                     [](In in) { return std::vector{scale(in[0], 1)}; }});
}

}  // namespace

void add_elementwise_cases(std::vector<OpCase>& table) {
    for (const Shape& s : {Shape{1}, Shape{7}, Shape{15}, Shape{16}, Shape{17}, Shape{33}, Shape{5, 13}, Shape{3, 1},
                           Shape{2, 3, 5}, Shape{131, 257}}) {
        add_activations(table, s);
        add_arithmetic(table, s);
        add_state_writes(table, s);
        add_casts(table, s);
        add_sums(table, s);
        add_dropout(table, s);
    }
    for (double norm : {0.0, 0.5, 1.0, 3.0})
        for (float limit : {0.0f, 1.0f})
            table.push_back({"clip_factor of " + std::to_string(norm) + " at " + std::to_string(limit),
                             &clip_factor_op,
                             {real({1}, {norm})},
                             [limit](In in) { return std::vector{clip_factor(in[0], limit)}; }});
}

}  // namespace ggq::test
