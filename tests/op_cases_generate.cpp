// Cases of the ops of generating text. The composed forms are the plain ops.
#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/sampling.h"
#include "tests/op_cases.h"

namespace ggq::test {

namespace {

using In = const std::vector<Tensor>&;

constexpr float kEps = 1e-5f;

struct Format {
    DType dtype;
    QuantSpec spec;
};

// f32: the computing type's own.
constexpr Format kFormats[] = {{DType::f32, {}},           {DType::bf16, {}},         {DType::nf4, {64, true}},
                               {DType::nf4, {128, false}}, {DType::fp4, {256, true}}, {DType::int8, {}}};

std::string to_string(const Format& f) {
    if (!info(f.dtype).quantized) return name(f.dtype);
    return std::string(name(f.dtype)) + "/" + std::to_string(f.spec.block) + (f.spec.double_quant ? " double" : "");
}

CaseInput weight(const Shape& shape, const Format& f) {
    const CaseInput w = frozen(normal(shape));
    return f.dtype == DType::f32 ? w : kept_as(w, f.dtype, f.spec);
}

Tensor plain_linear(Tensor x, Tensor w) { return matmul(x, info(w.dtype()).quantized ? dequantize(w, x.dtype()) : w); }

struct Sizes {
    int64_t T, C, N, G;
};

// Of the last cases: sums of C terms, and products of two of them.
void set_tolerances(std::vector<OpCase>& table, size_t first, int64_t C) {
    const double sum = std::sqrt(static_cast<double>(C));
    for (size_t i = first; i < table.size(); ++i) {
        const bool gated = std::string_view(table[i].op->name).ends_with("swiglu");
        table[i].rounds_operand = true;
        table[i].floor = gated ? sum * sum : sum;
        table[i].tolerance = 1e-5;
    }
}

void add_linears(std::vector<OpCase>& table, const Sizes& s, const Format& f) {
    const size_t first = table.size();
    const auto x = [&](int64_t width) { return frozen(normal({s.T, width})); };
    const CaseInput norm = frozen(normal({s.C}));
    table.push_back({case_name(norm_qkv_op, to_string(f), s.T, s.C, s.N, s.G),
                     &norm_qkv_op,
                     {x(s.C), norm, weight({s.N, s.C}, f), weight({s.G, s.C}, f), weight({s.G, s.C}, f)},
                     [](In in) {
                         const Qkv y = norm_qkv(in[0], in[1], in[2], in[3], in[4], kEps);
                         return std::vector{y.q, y.k, y.v};
                     },
                     [](In in) {
                         const Tensor h = rms_norm(in[0], in[1], kEps);
                         return std::vector{plain_linear(h, in[2]), plain_linear(h, in[3]), plain_linear(h, in[4])};
                     }});
    table.push_back({case_name(norm_swiglu_op, to_string(f), s.T, s.C, s.N),
                     &norm_swiglu_op,
                     {x(s.C), norm, weight({s.N, s.C}, f), weight({s.N, s.C}, f)},
                     [](In in) { return std::vector{norm_swiglu(in[0], in[1], in[2], in[3], kEps)}; },
                     [](In in) {
                         const Tensor h = rms_norm(in[0], in[1], kEps);
                         return std::vector{swiglu(plain_linear(h, in[2]), plain_linear(h, in[3]))};
                     }});
    table.push_back({case_name(add_linear_op, to_string(f), s.T, s.C, s.N),
                     &add_linear_op,
                     {x(s.N), x(s.C), weight({s.N, s.C}, f)},
                     [](In in) { return std::vector{add_linear(in[0], in[1], in[2])}; },
                     [](In in) { return std::vector{add(in[0], plain_linear(in[1], in[2]))}; }});
    set_tolerances(table, first, s.C);
}

Tensor plain_adapted(Tensor x, Tensor w, Tensor a, Tensor b, float scaling) {
    return add(plain_linear(x, w), scale(matmul(matmul(x, a), b), static_cast<double>(scaling)));
}

void add_adapted(std::vector<OpCase>& table, const Sizes& s, const Format& f, int64_t rank) {
    const size_t first = table.size();
    const auto x = [&](int64_t width) { return frozen(normal({s.T, width})); };
    const CaseInput norm = frozen(normal({s.C}));
    const auto a = [&](int64_t r) { return frozen(normal({r, s.C}, 0.1)); };
    const auto b = [&](int64_t n, int64_t r) { return frozen(normal({n, r})); };
    const int64_t other = rank % 8 == 0 ? 2 * rank : rank + 1;
    table.push_back({case_name(lora_norm_qkv_op, to_string(f) + " rank " + std::to_string(rank), s.T, s.C, s.N, s.G),
                     &lora_norm_qkv_op,
                     {x(s.C), norm, weight({s.N, s.C}, f), weight({s.G, s.C}, f), weight({s.G, s.C}, f), a(rank),
                      b(s.N, rank), a(other), b(s.G, other), kept_as(a(rank), DType::bf16), b(s.G, rank)},
                     [](In in) {
                         const Qkv y = lora_norm_qkv(in[0], in[1], {in[2], in[5], in[6], 0.5f},
                                                     {in[3], in[7], in[8], 2}, {in[4], in[9], in[10], 1}, kEps);
                         return std::vector{y.q, y.k, y.v};
                     },
                     [](In in) {
                         const Tensor h = rms_norm(in[0], in[1], kEps);
                         return std::vector{plain_adapted(h, in[2], in[5], in[6], 0.5f),
                                            plain_adapted(h, in[3], in[7], in[8], 2),
                                            plain_adapted(h, in[4], in[9], in[10], 1)};
                     }});
    table.push_back(
        {case_name(lora_norm_swiglu_op, to_string(f) + " rank " + std::to_string(rank), s.T, s.C, s.N),
         &lora_norm_swiglu_op,
         {x(s.C), norm, weight({s.N, s.C}, f), weight({s.N, s.C}, f), a(rank), b(s.N, rank), a(rank), b(s.N, rank)},
         [](In in) {
             return std::vector{
                 lora_norm_swiglu(in[0], in[1], {in[2], in[4], in[5], 0.5f}, {in[3], in[6], in[7], 2}, kEps)};
         },
         [](In in) {
             const Tensor h = rms_norm(in[0], in[1], kEps);
             return std::vector{
                 swiglu(plain_adapted(h, in[2], in[4], in[5], 0.5f), plain_adapted(h, in[3], in[6], in[7], 2))};
         }});
    table.push_back({case_name(lora_add_linear_op, to_string(f) + " rank " + std::to_string(rank), s.T, s.C, s.N),
                     &lora_add_linear_op,
                     {x(s.N), x(s.C), weight({s.N, s.C}, f), a(rank), b(s.N, rank)},
                     [](In in) {
                         return std::vector{lora_add_linear(in[0], in[1], {in[2], in[3], in[4], 0.5f})};
                     },
                     [](In in) { return std::vector{add(in[0], plain_adapted(in[1], in[2], in[3], in[4], 0.5f))}; }});
    set_tolerances(table, first, s.C);
}

struct Heads {
    int64_t T = 1, S = 1, H = 1, G = 1, D = 2, at = 0;
};

// Query t sees all tokens up to itself.
CaseInput spans_from(const Heads& s) {
    std::vector<int64_t> values;
    for (int64_t t = 0; t < s.T; ++t) values.insert(values.end(), {t == 0 ? 0 : 1, std::min(s.at + t + 1, s.S)});
    return ints(DType::i32, {s.T, 2}, values);
}

// `tokens`: positions, places of the new rows, spans.
OpCase cached_attention_case(const std::string& what, const Heads& s, DType cached,
                             const std::vector<CaseInput>& tokens) {
    const auto cache = [&] { return state(kept_as(normal({s.S, s.G, s.D}), cached)); };
    const auto rows = [&](int64_t heads) { return frozen(normal({s.T, heads, s.D})); };
    OpCase c{case_name(cached_attention_op, name(cached), s.T, s.S, s.H, s.G) + what,
             &cached_attention_op,
             {cache(), cache(), rows(s.H), rows(s.G), rows(s.G), tokens[0], kept_as(positive({s.D / 2}), DType::f32),
              tokens[1], tokens[2]},
             [](In in) {
                 Graph& graph = *in[0].graph;
                 const auto out = graph.append(cached_attention_op, in, AttentionParams{0.25f});
                 const DType real = in[2].dtype();
                 return std::vector{cast(out[0], real), cast(out[1], real), out[2]};
             },
             [](In in) {  // which reads the caches as they are after the writes
                 const Tensor q = rope(in[2], in[5], in[6]), k = rope(in[3], in[5], in[6]);
                 const Tensor keys = cache_write(in[0], k, in[7]), values = cache_write(in[1], in[4], in[7]);
                 const DType real = in[2].dtype();
                 return std::vector{cast(keys, real), cast(values, real), attention(q, keys, values, in[8], 0.25f)};
             }};
    c.rounds_operand = true;
    c.floor = 0.1;
    c.tolerance = 1e-4;
    return c;
}

void add_cached_attention(std::vector<OpCase>& table, const Heads& s, DType cached) {
    std::vector<int64_t> positions;
    for (int64_t t = 0; t < s.T; ++t) positions.push_back(s.at + t);
    table.push_back(
        cached_attention_case(" of " + std::to_string(s.D), s, cached,
                              {ints(DType::i32, {s.T}, positions), ints(DType::i32, {1}, {s.at}), spans_from(s)}));
}

// Tokens of as many sequences, whose caches lie end to end; the position of each, one of them idle (-1).
void add_batch_attention(std::vector<OpCase>& table, Heads s, DType cached, const std::vector<int64_t>& positions) {
    s.T = std::ssize(positions);
    std::vector<int64_t> places, spans, turned;
    for (int64_t t = 0; t < s.T; ++t) {
        const int64_t first = t * (s.S / s.T), position = positions[static_cast<size_t>(t)];
        turned.push_back(std::max<int64_t>(position, 0));
        places.push_back(position < 0 ? -1 : first + position);
        spans.insert(spans.end(), {first, first + turned.back() + 1});
    }
    table.push_back(cached_attention_case(
        " of a batch", s, cached,
        {ints(DType::i32, {s.T}, turned), ints(DType::i32, {s.T}, places), ints(DType::i32, {s.T, 2}, spans)}));
}

using sampling::Settings;

// Each a way of its own through the kernels.
const std::vector<Settings> kSettings = {
    {},
    {.inverse_temperature = 1},
    {.inverse_temperature = 1, .top_k = 1},
    {.inverse_temperature = 1.5f, .top_k = 7},
    {.inverse_temperature = 1, .top_p = 0.6f},
    {.inverse_temperature = 1.25f, .top_k = 40, .top_p = 0.95f, .farthest = 3},
    {.inverse_temperature = 0.01f, .top_p = 0.999f},
    {.inverse_temperature = 1e30f},
    {.inverse_temperature = 1, .top_k = 100000, .farthest = 0.5f},
    {.repeat = 1.5f, .presence = 0.25f, .frequency = 0.5f},
    {.inverse_temperature = 1, .top_k = 12, .top_p = 0.5f, .repeat = 2, .frequency = 0.125f, .vocabulary = 11},
};

// Row t of the logits has row `rows[t]` of the settings; a token of the log is below `limit`.
OpCase sample_case(const std::string& what, const CaseInput& logits, const std::vector<int64_t>& rows, int64_t limit) {
    const auto n = std::ssize(kSettings);
    std::vector<double> values;
    std::vector<int64_t> seeds, positions;
    for (const Settings& s : kSettings) {
        for (const float value :
             {s.inverse_temperature, s.top_k, s.top_p, s.farthest, s.repeat, s.presence, s.frequency, s.vocabulary})
            values.push_back(static_cast<double>(value));
        positions.push_back(std::ssize(positions) * 9 - 1);
        seeds.push_back(1000 - positions.back());
    }
    return {case_name(sample_op, what, std::ssize(rows), logits.type.shape[1]),
            &sample_op,
            {logits, ints(DType::i32, {std::ssize(rows)}, rows), kept_as(real({n, 8}, values), DType::f32),
             ints(DType::i64, {n}, seeds), ints(DType::i32, {n}, positions), below(DType::i32, {n, 90}, limit)},
            [](In in) {
                return std::vector{sample(in[0], in[1], {in[2], in[3], in[4], in[5]})};
            }};
}

// All settings, one of them twice, and a row that is none.
void add_sample(std::vector<OpCase>& table, int64_t V) {
    std::vector<int64_t> rows = {3, -1};
    for (int64_t r = std::ssize(kSettings) - 1; r >= 0; --r) rows.push_back(r);
    table.push_back(sample_case("", frozen(sixty_fourths({std::ssize(rows), V})), rows, V));
}

// Rows of a state of three: one goes on, one is full, one has stopped, and the token of one is none.
void add_next_token(std::vector<OpCase>& table, const std::vector<int64_t>& rows, const std::vector<int64_t>& tokens) {
    const auto i32 = [](const Shape& shape, const std::vector<int64_t>& values) {
        return state(ints(DType::i32, shape, values));
    };
    const auto n = std::ssize(rows);
    table.push_back({case_name(next_token_op, "from row " + std::to_string(rows[0]), n),
                     &next_token_op,
                     {i32({4}, {7, 8, 9, 6}), i32({4}, {0, 2, 1, 1}), i32({4, 2}, {0, 1, 3, 6, 6, 8, 9, 11}),
                      i32({4}, {0, 5, -1, 10}), i32({4, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}),
                      ints(DType::i32, {n}, rows), ints(DType::i32, {n}, tokens)},
                     [](In in) { return in[0].graph->append(next_token_op, in); }});
}

}  // namespace

void add_generate_cases(std::vector<OpCase>& table) {
    for (const Format& f : kFormats)
        for (const Sizes& s : {Sizes{1, 1, 1, 1}, Sizes{1, 64, 6, 2}, Sizes{3, 33, 17, 5}, Sizes{9, 128, 8, 16}})
            add_linears(table, s, f);
    for (const Format& f : kFormats)
        for (const Sizes& s : {Sizes{1, 64, 6, 2}, Sizes{3, 33, 17, 5}}) add_adapted(table, s, f, 3);
    for (DType cached : {DType::f32, DType::f16, DType::bf16}) {
        add_cached_attention(table, {1, 9, 4, 2, 8, 4}, cached);
        add_cached_attention(table, {3, 11, 6, 3, 18, 7}, cached);
    }
    add_cached_attention(table, {4, 9, 2, 1, 16, 7}, DType::f32);  // rows beyond the end of the cache
    add_batch_attention(table, {.S = 20, .H = 4, .G = 2, .D = 8}, DType::f32, {0, 4, -1, 2});
    add_next_token(table, {0, 1, 2, 3}, {99, 98, 97, -1});
    add_next_token(table, {3, -1, 0}, {99, 98, 97});
    for (int64_t V : {1, 5, 300}) add_sample(table, V);
    table.push_back(
        sample_case("of what is not finite", real({3, 3}, {1, INFINITY, 2, 3, 1, 3, 1, -INFINITY, 0}), {0, 0, 1}, 3));
}

// Several rows of 4-bit weights: blocks of columns of each size, tiles of w in part and several, k of one step and
// many.
void add_several_rows(std::vector<OpCase>& table) {
    for (const Format& f : {Format{DType::nf4, {64, true}}, Format{DType::fp4, {64, false}}})
        for (const Sizes& s : {Sizes{2, 512, 16, 16}, Sizes{8, 1024, 528, 48}, Sizes{11, 1536, 272, 16},
                               Sizes{16, 2048, 256, 32}, Sizes{29, 512, 304, 16}, Sizes{64, 1024, 80, 16}})
            add_linears(table, s, f);
    add_adapted(table, {5, 512, 48, 32}, {DType::nf4, {64, true}}, 8);
}

// One row of 4-bit weights over one slice of k, several, and parts of one; long caches.
void add_large_generate_cases(std::vector<OpCase>& table) {
    add_several_rows(table);
    for (const Format& f : kFormats)
        for (const Sizes& s : {Sizes{1, 320, 70, 34}, Sizes{1, 2048, 34, 6}, Sizes{1, 4096, 300, 52},
                               Sizes{1, 11008, 66, 2}, Sizes{2, 640, 70, 34}})
            add_linears(table, s, f);
    for (const Format& f : kFormats)
        for (int64_t rank : {8, 16}) add_adapted(table, {1, 4096, 300, 52}, f, rank);
    for (DType cached : {DType::f32, DType::f16, DType::bf16}) {
        add_cached_attention(table, {1, 300, 8, 2, 128, 291}, cached);
        add_cached_attention(table, {1, 700, 4, 4, 64, 129}, cached);
        add_cached_attention(table, {4, 260, 8, 2, 64, 126}, cached);
        add_cached_attention(table, {3, 257, 16, 2, 96, 255}, cached);
        add_batch_attention(table, {.S = 700, .H = 8, .G = 2, .D = 64}, cached, {0, 99, 38, -1, 64});
        add_cached_attention(table, {1, 40, 6, 2, 64, 39}, cached);
        add_cached_attention(table, {1, 33, 5, 1, 128, 40}, cached);  // the token is beyond the end of the cache
        add_cached_attention(table, {1, 2100, 12, 1, 128, 2077}, cached);
        add_cached_attention(table, {1, 1500, 8, 8, 64, 1499}, cached);
    }
    add_sample(table, 20011);
}

}  // namespace ggq::test
