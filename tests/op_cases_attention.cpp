// Cases of attention and of writes to the KV cache. The composed form works head by head, with a mask that is added.
#include <algorithm>
#include <cmath>

#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "tests/op_cases.h"

namespace ggq::test {

namespace {

using In = const std::vector<Tensor>&;

struct Heads {
    int64_t n_queries, n_keys, heads, key_heads, size;
};

Tensor head_of(Tensor x, int64_t h) { return reshape(slice(x, 1, h, h + 1), {x.shape()[0], x.shape()[2]}); }

// [T,H,D] as one [T,D] for each head, as the composed form makes it.
std::vector<Tensor> by_head(Tensor y) {
    std::vector<Tensor> heads;
    for (int64_t h = 0; h < y.shape()[1]; ++h) heads.push_back(head_of(y, h));
    return heads;
}

std::vector<Tensor> composed_attention(Tensor q, Tensor k, Tensor v, Tensor mask, float factor) {
    std::vector<Tensor> heads;
    const int64_t group = q.shape()[1] / k.shape()[1];
    for (int64_t h = 0; h < q.shape()[1]; ++h) {
        const Tensor scores = scale(matmul(head_of(q, h), head_of(k, h / group)), static_cast<double>(factor));
        const Tensor weights = softmax(add(scores, mask));
        heads.push_back(matmul(weights, transpose(head_of(v, h / group), 0, 1)));
    }
    return heads;
}

void add_attention(std::vector<OpCase>& table, const std::string& variant, const Heads& s, const CaseInput& spans,
                   double deviation = 1, float factor = 0.7f) {
    const Shape q{s.n_queries, s.heads, s.size}, kv{s.n_keys, s.key_heads, s.size};
    OpCase c{
        case_name(attention_op, variant, s.n_queries, s.n_keys, s.heads, s.key_heads) + " of " + std::to_string(s.size),
        &attention_op,
        {normal(q, deviation), normal(kv, deviation), normal(kv), spans, mask_of(spans, s.n_keys)},
        [=](In in) { return by_head(attention(in[0], in[1], in[2], in[3], factor)); },
        [=](In in) { return composed_attention(in[0], in[1], in[2], in[4], factor); }};
    c.tolerance = 1e-5 * deviation * deviation;
    c.floor = 0.1;  // a query that sees one key has no gradient but for rounding
    table.push_back(c);

    std::vector<CaseInput> fixed{frozen(normal(q)), frozen(c.in[0]), frozen(c.in[1]), frozen(c.in[2]), spans};
    OpCase back{case_name(attention_backward_op, variant, s.n_queries, s.n_keys, s.heads, s.key_heads) + " of " +
                    std::to_string(s.size),
                &attention_backward_op, fixed, [=](In in) {
                    Graph& graph = *in[0].graph;
                    const ParamBlock params = AttentionParams{factor};
                    const auto y = graph.append(attention_op, {in[1], in[2], in[3], in[4]}, params);
                    return graph.append(attention_backward_op, {in[0], in[1], in[2], in[3], y[0], y[1], in[4]}, params);
                }};
    back.tolerance = c.tolerance;
    back.floor = c.floor;
    table.push_back(back);
}

// Queries, keys and values as slices of one tensor [T, H + 2G, D], and as transposed views [H,T,D].
void add_strided_attention(std::vector<OpCase>& table) {
    const CaseInput spans = documents({5, 1, 11});
    OpCase sliced{"attention of slices",
                  &attention_op,
                  {normal({17, 8, 16}), spans, mask_of(spans, 17)},
                  [](In in) {
                      return by_head(
                          attention(slice(in[0], 1, 0, 4), slice(in[0], 1, 4, 6), slice(in[0], 1, 6, 8), in[1], 0.25f));
                  },
                  [](In in) {
                      return composed_attention(slice(in[0], 1, 0, 4), slice(in[0], 1, 4, 6), slice(in[0], 1, 6, 8),
                                                in[2], 0.25f);
                  }};
    sliced.tolerance = 1e-5;
    table.push_back(sliced);
    OpCase transposed = sliced;
    const auto turned = [](Tensor x) { return transpose(x, 0, 1); };
    transposed.name = "attention of transposed views";
    transposed.in = {normal({4, 17, 15}), normal({2, 17, 15}), normal({2, 17, 15}), spans, mask_of(spans, 17)};
    transposed.build = [=](In in) {
        return by_head(attention(turned(in[0]), turned(in[1]), turned(in[2]), in[3], 0.25f));
    };
    transposed.twin = [=](In in) {
        return composed_attention(turned(in[0]), turned(in[1]), turned(in[2]), in[4], 0.25f);
    };
    table.push_back(transposed);
}

// Documents of one length whose queries see the last `window` keys only.
CaseInput windows(int64_t n_documents, int64_t length, int64_t window) {
    std::vector<int64_t> spans;
    for (int64_t t = 0; t < n_documents * length; ++t)
        spans.insert(spans.end(), {std::max(t / length * length, t + 1 - window), t + 1});
    return ints(DType::i32, {n_documents * length, 2}, spans);
}

void add_window_spans(std::vector<OpCase>& table) {
    for (const int64_t n_keys : {1, 3, 100})
        table.push_back({case_name(window_spans_op, "of " + std::to_string(n_keys), 5, 2),
                         &window_spans_op,
                         {ints(DType::i32, {5, 2}, {0, 1, 0, 2, 0, 3, 3, 8, 0, 300})},
                         [=](In in) { return std::vector{window_spans(in[0], n_keys)}; }});
}

void add_caches(std::vector<OpCase>& table, DType dtype) {
    const auto keys = [&] { return kept_as(normal({9, 2, 17}), dtype); };
    OpCase c{std::string("attention over a cache in ") + name(dtype),
             &attention_op,
             {frozen(normal({2, 4, 17})), keys(), keys(), ints(DType::i32, {2, 2}, {0, 8, 0, 9})},
             [](In in) { return by_head(attention(in[0], in[1], in[2], in[3], 0.25f)); }};
    c.tolerance = 1e-5;
    table.push_back(c);
    for (int64_t at : {0, 3, 8})
        table.push_back({std::string("cache_write in ") + name(dtype) + " at " + std::to_string(at),
                         &cache_write_op,
                         {state(keys()), frozen(normal({3, 2, 17})), ints(DType::i32, {1}, {at})},
                         [](In in) { return std::vector{cast(cache_write(in[0], in[1], in[2]), in[1].dtype())}; }});
    table.push_back({std::string("cache_write in ") + name(dtype) + " at several places",
                     &cache_write_op,
                     {state(keys()), frozen(normal({3, 2, 17})), ints(DType::i32, {3}, {4, -1, 1})},
                     [](In in) { return std::vector{cast(cache_write(in[0], in[1], in[2]), in[1].dtype())}; }});
}

}  // namespace

void add_attention_cases(std::vector<OpCase>& table) {
    add_attention(table, "one", {1, 1, 1, 1, 1}, documents({1}));
    add_attention(table, "causal", {5, 5, 2, 1, 3}, documents({5}));
    add_attention(table, "causal", {3, 3, 3, 3, 16}, documents({3}));
    add_attention(table, "documents", {17, 17, 4, 2, 15}, documents({5, 1, 11}));
    add_attention(table, "single tokens", {7, 7, 2, 2, 17}, documents({1, 1, 1, 1, 1, 1, 1}));
    add_attention(table, "decode", {1, 33, 6, 2, 8}, ints(DType::i32, {1, 2}, {0, 33}));
    add_attention(table, "more keys", {2, 9, 4, 1, 33}, ints(DType::i32, {2, 2}, {0, 8, 0, 9}));
    add_attention(table, "unseen keys", {3, 11, 2, 1, 5}, ints(DType::i32, {3, 2}, {2, 4, 3, 4, 6, 9}));
    add_attention(table, "steep", {9, 9, 2, 1, 13}, documents({9}), 5);
    add_attention(table, "large", {140, 140, 4, 2, 32}, documents({67, 1, 72}));
    add_attention(table, "window", {26, 26, 4, 2, 16}, windows(2, 13, 4));
    add_window_spans(table);
    add_strided_attention(table);
    for (DType dtype : {DType::f32, DType::f16, DType::bf16}) add_caches(table, dtype);
}

// Long caches, heads of 128 and 256, so many queries and heads that tiles become larger or heads are shared out. Of
// dq's many elements a few are far off: delta = dy y comes from a y in 16 bits, and a query that sees few keys has
// little to average that over.
void add_large_attention_cases(std::vector<OpCase>& table) {
    const std::vector<int64_t> hundreds{100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 60};
    std::vector<int64_t> first_keys;
    for (int64_t query = 0; query < 8; ++query) first_keys.insert(first_keys.end(), {0, 993 + query});
    const auto add = [&](const char* variant, const Heads& s, const CaseInput& spans, double outliers = 0) {
        const size_t first = table.size();
        add_attention(table, variant, s, spans, 1, 1 / std::sqrt(static_cast<float>(s.size)));  // as a Llama's
        for (size_t i = first; i < table.size(); ++i) table[i].outliers = outliers;
    };
    add("long cache", {1, 300, 8, 2, 128}, ints(DType::i32, {1, 2}, {0, 300}));
    add("long cache", {8, 1000, 8, 1, 64}, ints(DType::i32, {8, 2}, first_keys));
    add("documents", {150, 150, 4, 2, 128}, documents({67, 1, 82}));
    add("documents", {100, 100, 2, 1, 256}, documents({50, 50}));
    add("documents", {1060, 1060, 32, 8, 128}, documents(hundreds));
    add("documents", {400, 400, 66, 66, 64}, documents({130, 1, 269}), 1e-5);  // 2 of 1,689,600 in bf16
    add("documents", {700, 700, 4, 2, 64}, documents({130, 570}));
    add("window", {700, 700, 4, 2, 64}, windows(2, 350, 70));
    add("window", {1040, 1040, 8, 2, 128}, windows(1, 1040, 300));
    add("documents", {1060, 1060, 96, 24, 8}, documents(hundreds), 1e-5);  // 3 of 814,080 in bf16
}

}  // namespace ggq::test
