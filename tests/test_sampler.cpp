// The sampler: what is left of the tokens and how often each is drawn; and the op against the definition in plain form.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "ggq/ops.h"
#include "kernels/kernels.h"
#include "models/generate/sampler.h"
#include "tests/case_run.h"
#include "tests/gpu.h"
#include "tests/kernel_check.h"

namespace ggq::test {

namespace {

constexpr size_t kDraws = 4000;

// Probabilities 0.5, 0.3, 0.15 and 0.05, in an order that is not that of the ids.
const std::vector<float> kLogits = {std::log(0.15f), std::log(0.5f), std::log(0.05f), std::log(0.3f)};

// Everything that leaves tokens out is off.
SamplerOptions plain(double temperature = 1) {
    return {.temperature = temperature, .top_k = 0, .top_p = 1, .min_p = 0, .repeat_penalty = 1, .seed = 1};
}

// Of logits, rows, settings, seeds, positions and log.
std::vector<int32_t> chosen(Backend& backend, const std::vector<HostInput>& inputs) {
    const std::vector<std::byte> bytes = run_once(backend, "sample", inputs, [](const std::vector<Tensor>& in) {
        return sample(in[0], in[1], {in[2], in[3], in[4], in[5]});
    });
    std::vector<int32_t> tokens(bytes.size() / 4);
    std::memcpy(tokens.data(), bytes.data(), bytes.size());
    return tokens;
}

// Draws at the positions 0, 1, 2, ..., of rows of the same logits, by the op on the CPU.
std::vector<int32_t> draws(const SamplerOptions& options, size_t n = kDraws,
                           const std::vector<float>& logits = kLogits) {
    const auto T = static_cast<int64_t>(n), V = std::ssize(logits);
    std::vector<float> all;
    std::vector<int32_t> rows(n), positions(n);
    for (size_t i = 0; i < n; ++i) all.insert(all.end(), logits.begin(), logits.end());
    std::iota(rows.begin(), rows.end(), 0);
    std::iota(positions.begin(), positions.end(), -1);
    const std::vector<sampling::Settings> settings(n, settings_of(options, 0));
    const std::vector<uint64_t> seeds(n, options.seed);
    const std::vector<int32_t> log(n, 0);
    const auto backend = make_cpu_backend(1);
    return chosen(*backend, {{{DType::f32, {T, V}, {}}, all.data()},
                             {{DType::i32, {T}, {}}, rows.data()},
                             {{DType::f32, {T, 8}, {}}, settings.data()},
                             {{DType::i64, {T}, {}}, seeds.data()},
                             {{DType::i32, {T}, {}}, positions.data()},
                             {{DType::i32, {T, 1}, {}}, log.data()}});
}

// The one after `earlier`.
int32_t sample(const std::vector<float>& logits, const std::vector<int32_t>& earlier, const SamplerOptions& options) {
    const int32_t row = 0, position = static_cast<int32_t>(earlier.size()) - 1;
    const sampling::Settings settings = settings_of(options, 0);
    std::vector<int32_t> log = earlier;
    log.push_back(-1);  // not known yet
    const auto backend = make_cpu_backend(1);
    return chosen(*backend, {{{DType::f32, {1, std::ssize(logits)}, {}}, logits.data()},
                             {{DType::i32, {1}, {}}, &row},
                             {{DType::f32, {1, 8}, {}}, &settings},
                             {{DType::i64, {1}, {}}, &options.seed},
                             {{DType::i32, {1}, {}}, &position},
                             {{DType::i32, {1, std::ssize(log)}, {}}, log.data()}})[0];
}

std::array<double, 4> shares(const SamplerOptions& options) {
    std::array<double, 4> share{};
    for (const int32_t id : draws(options)) share.at(static_cast<size_t>(id)) += 1.0 / kDraws;
    return share;
}

// The shares of many draws are those of a softmax over the ids that are left; 0.03 are four deviations.
void check_shares(const SamplerOptions& options, const std::array<double, 4>& weights) {
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    const std::array<double, 4> share = shares(options);
    for (size_t id = 0; id < 4; ++id) {
        CAPTURE(id);
        CHECK(std::abs(share.at(id) - weights.at(id) / sum) < 0.03);
        if (weights.at(id) == 0) CHECK(share.at(id) == 0);
    }
}

// The same by sorting, for a row of logits and the tokens before.
int32_t by_sorting(std::vector<float> logits, const std::vector<int32_t>& earlier, const sampling::Settings& s,
                   uint64_t seed) {
    using namespace sampling;
    if (s.vocabulary > 0) logits.resize(static_cast<size_t>(s.vocabulary));
    const auto n_recent = std::min<std::ptrdiff_t>(std::ssize(earlier), kWindow);
    const std::vector<int32_t> recent(earlier.end() - n_recent, earlier.end());
    for (size_t id = 0; id < logits.size(); ++id)
        if (const auto n = std::ranges::count(recent, static_cast<int32_t>(id)); n > 0)
            logits[id] = penalized(logits[id], static_cast<int>(n), s);
    const float top = *std::ranges::max_element(logits);
    if (std::isinf(s.inverse_temperature)) return static_cast<int32_t>(std::ranges::find(logits, top) - logits.begin());

    std::vector<std::pair<uint32_t, int32_t>> order;  // by key, then by id
    for (const float logit : logits) order.emplace_back(key_of(top, logit), static_cast<int32_t>(order.size()));
    std::ranges::sort(order);
    if (s.top_k > 0 && s.top_k < static_cast<float>(order.size())) order.resize(static_cast<size_t>(s.top_k));
    if (s.top_p < 1) {
        uint64_t total = 0, sum = 0;
        for (const auto& token : order) total += weight_of(token.first, 1);
        size_t n = 0;
        while (sum < needed(s.top_p, total)) sum += weight_of(order[n++].first, 1);
        order.resize(n);
    }
    std::erase_if(order, [&](const auto& token) { return distance_of(token.first) > s.farthest; });
    std::ranges::sort(order, {}, [](const auto& token) { return token.second; });
    uint64_t total = 0;
    for (const auto& token : order) total += weight_of(token.first, s.inverse_temperature);
    uint64_t rest = sampling::drawn(total, seed, std::ssize(earlier));
    for (const auto& [key, id] : order) {
        const uint64_t weight = weight_of(key, s.inverse_temperature);
        if (rest < weight) return id;
        rest -= weight;
    }
    return -1;
}

// Rows of logits with many equal ones, few of them, and all of them alike.
std::vector<float> random_logits(int kind, size_t n, std::mt19937& engine) {
    std::normal_distribution<float> normal(0, kind == 0 ? 3.0f : 1.0f);
    std::vector<float> logits(n);
    for (float& x : logits) x = kind == 2 ? 1 : kind == 1 ? std::round(4 * normal(engine)) / 4 : normal(engine);
    return logits;
}

std::vector<SamplerOptions> many_options() {
    std::vector<SamplerOptions> all;
    for (const double temperature : {0.0, 1e-30, 0.1, 1.0, 50.0})
        for (const int64_t top_k : {0, 1, 7, 10000})
            for (const double top_p : {1.0, 0.9, 0.001})
                for (const double min_p : {0.0, 0.1})
                    all.push_back({.temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p});
    for (size_t i = 0; i < all.size(); i += 3) all[i].repeat_penalty = 1.3;
    for (size_t i = 0; i < all.size(); i += 4) all[i].presence_penalty = 0.5, all[i].frequency_penalty = 0.25;
    return all;
}

// All options on rows of V logits of a kind, on a device, against the definition.
void check_against_sorting(Backend& backend, int kind, int64_t V) {
    std::mt19937 engine(static_cast<uint32_t>(V + kind));
    const std::vector<SamplerOptions> options = many_options();
    const auto n = std::ssize(options), S = int64_t{80};
    std::vector<float> logits;
    std::vector<int32_t> rows, positions, log, expected;
    std::vector<sampling::Settings> settings;
    std::vector<uint64_t> seeds;
    for (int64_t i = 0; i < n; ++i) {
        const std::vector<float> row = random_logits(kind, static_cast<size_t>(V), engine);
        std::vector<int32_t> earlier;
        for (int64_t j = 0; j < i % S; ++j)
            earlier.push_back(static_cast<int32_t>(engine() % static_cast<uint32_t>(V)));
        rows.push_back(static_cast<int32_t>(n - 1 - i));  // settings of row r are those of logits n - 1 - r
        settings.insert(settings.begin(), settings_of(options[static_cast<size_t>(i)], i % 5 == 0 ? V - V / 3 : 0));
        seeds.insert(seeds.begin(), engine());
        expected.push_back(by_sorting(row, earlier, settings[0], seeds[0]));
        positions.insert(positions.begin(), static_cast<int32_t>(earlier.size()) - 1);
        earlier.resize(static_cast<size_t>(S), 0);
        log.insert(log.begin(), earlier.begin(), earlier.end());
        logits.insert(logits.end(), row.begin(), row.end());
    }
    const std::vector<int32_t> tokens = chosen(backend, {{{DType::f32, {n, V}, {}}, logits.data()},
                                                         {{DType::i32, {n}, {}}, rows.data()},
                                                         {{DType::f32, {n, 8}, {}}, settings.data()},
                                                         {{DType::i64, {n}, {}}, seeds.data()},
                                                         {{DType::i32, {n}, {}}, positions.data()},
                                                         {{DType::i32, {n, S}, {}}, log.data()}});
    CHECK(tokens == expected);
}

}  // namespace

TEST_CASE("sampler: temperature sharpens and flattens, and 0 takes the likeliest") {
    check_shares(plain(), {0.15, 0.5, 0.05, 0.3});
    check_shares(plain(0.5), {0.15 * 0.15, 0.5 * 0.5, 0.05 * 0.05, 0.3 * 0.3});
    check_shares(plain(2), {std::sqrt(0.15), std::sqrt(0.5), std::sqrt(0.05), std::sqrt(0.3)});
    check_shares(plain(0), {0, 1, 0, 0});
    CHECK(sample(std::vector<float>{1, 2, 2}, {}, plain(0)) == 1);  // the lowest id of equal ones
}

TEST_CASE("sampler: top-k, top-p and min-p leave out the unlikely, before the temperature") {
    SamplerOptions options = plain();
    options.top_k = 2;
    check_shares(options, {0, 0.5, 0, 0.3});
    options.top_k = 9;
    check_shares(options, {0.15, 0.5, 0.05, 0.3});
    options = plain();
    options.top_p = 0.6;
    check_shares(options, {0, 0.5, 0, 0.3});
    options.top_p = 0.4;
    check_shares(options, {0, 1, 0, 0});
    options = plain();
    options.min_p = 0.2;
    check_shares(options, {0.15, 0.5, 0, 0.3});
    options.temperature = 2;  // would lift the fourth above the limit
    check_shares(options, {std::sqrt(0.15), std::sqrt(0.5), 0, std::sqrt(0.3)});
}

TEST_CASE("sampler: the repeat penalty looks at the last tokens") {
    SamplerOptions options = plain(0);
    options.repeat_penalty = 1.5;
    const std::vector<int32_t> earlier = {0};
    CHECK(sample(std::vector<float>{2, 1.9f}, {}, options) == 0);
    CHECK(sample(std::vector<float>{2, 1.9f}, earlier, options) == 1);
    CHECK(sample(std::vector<float>{2, 1.3f}, earlier, options) == 0);  // 2 / 1.5 = 1.33
    CHECK(sample(std::vector<float>{-1, -1.2f}, earlier, options) == 1);
    CHECK(sample(std::vector<float>{2, 1.3f}, std::vector<int32_t>{0, 0, 0}, options) == 0);  // counted once
    std::vector<int32_t> long_ago(1 + kRepeatWindow, 2);
    long_ago[0] = 0;
    CHECK(sample(std::vector<float>{2, 1.9f, 0}, long_ago, options) == 0);
}

TEST_CASE("sampler: a seed repeats its draws, another one gives others") {
    SamplerOptions options = plain();
    const std::vector<int32_t> first = draws(options, 100);
    CHECK(draws(options, 100) == first);
    options.seed = 2;
    CHECK(draws(options, 100) != first);
}

TEST_CASE("sampler: shares of many tokens are those of a softmax, by the chi-square of its draws") {
    std::vector<float> logits;
    double sum = 0;
    for (int i = 0; i < 40; ++i)
        sum += std::exp(static_cast<double>(logits.emplace_back(0.07f * static_cast<float>(i * 17 % 40))));
    constexpr size_t kMany = 20000;
    std::vector<double> seen(logits.size());
    for (const int32_t id : draws(plain(), kMany, logits)) ++seen[static_cast<size_t>(id)];
    double chi_square = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
        const double expected = kMany * std::exp(static_cast<double>(logits[i])) / sum;
        chi_square += (seen[i] - expected) * (seen[i] - expected) / expected;
    }
    CHECK(chi_square < 39 + 4 * std::sqrt(2.0 * 39));
    CHECK(chi_square > 39 - 4 * std::sqrt(2.0 * 39));
}

TEST_CASE("sampler: keys keep the order, and weights are exponentials") {
    using namespace sampling;
    CHECK(key_of(3, 3) == 0);
    CHECK(key_of(3, std::nextafter(3.0f, 0.0f)) == 1);
    CHECK(key_of(3e38f, -3e38f) == kKeys - 1);
    uint32_t last = 0;
    for (float distance = 1e-6f; distance < 1e5f; distance *= 1.01f) {
        const uint32_t key = key_of(0, -distance);
        CHECK(key >= last);
        last = key;
        if (distance < 60) CHECK(std::abs(distance_of(key) - distance) <= (1 + distance) / (1 << 17));
        if (distance > 20) continue;
        const double weight = static_cast<double>(weight_of(key, 0.5f)) * 0x1p-40;
        const double expected = std::exp(-0.5 * static_cast<double>(distance_of(key)));
        CHECK(std::abs(weight - expected) < 4e-6 * expected);
    }
    CHECK(weight_of(0, 3e38f) == uint64_t{1} << 40);
    CHECK(weight_of(5, 3e38f) == 0);
}

TEST_CASE("sampler: the op does what sorting does, ties and all, on every device") {
    for (Backend* device : devices())
        for (const int64_t V : {1, 3, 50, 3001, 33000})
            for (const int kind : {0, 1, 2}) {
                INFO("on ", std::string(device->name()));
                CAPTURE(V);
                CAPTURE(kind);
                check_against_sorting(*device, kind, V);
            }
}

TEST_CASE("next token: a row goes on, one that is full or gets no token stops, and others are left as they are") {
    const auto i32 = [](const Shape& shape, const std::vector<double>& values) {
        return tensor_of(DType::i32, shape, values);
    };
    const std::vector<TestTensor> state = {i32({5}, {7, 8, 9, 6, 5}), i32({5}, {0, 2, 1, 1, 0}),
                                           i32({5, 2}, {0, 1, 3, 6, 6, 8, 9, 11, 12, 13}), i32({5}, {0, 5, -1, 10, 12}),
                                           i32({5, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})};
    std::vector<TestTensor> in = state;
    in.push_back(i32({5}, {3, 0, 1, -1, 2}));
    in.push_back(i32({5}, {-1, 99, 98, 97, 96}));
    check_kernel({.name = "next_token", .kernel = cpu::next_token, .out = state, .in = in, .n_inout = 5},
                 {{99, 8, 9, 6, 5},
                  {1, 2, 1, 1, 0},
                  {0, 2, 3, 6, 6, 8, 9, 11, 12, 13},
                  {1, -1, -1, -1, 12},
                  {1, 99, 3, 4, 5, 6, 7, 8, 9, 10, 11, -1, 13, 14, 15}},
                 0);
}

}  // namespace ggq::test
