// Choosing tokens and ending an answer: the sampler, stop texts, the tokens that can be chosen, and the cache's types.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "models/generate/generator.h"
#include "models/generate/sampler.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

constexpr size_t kDraws = 4000;

// Probabilities 0.5, 0.3, 0.15 and 0.05, in an order that is not that of the ids.
const std::vector<float> kLogits = {std::log(0.15f), std::log(0.5f), std::log(0.05f), std::log(0.3f)};

// Everything that leaves tokens out is off.
SamplerOptions plain(double temperature = 1) {
    return {.temperature = temperature, .top_k = 0, .top_p = 1, .min_p = 0, .repeat_penalty = 1, .seed = 1};
}

// Draws at the positions 0, 1, 2, ...
std::vector<int32_t> draws(const SamplerOptions& options, size_t n = kDraws) {
    const std::vector<int32_t> earlier(n, 0);
    std::vector<int32_t> ids;
    for (size_t i = 0; i < n; ++i) ids.push_back(sample(kLogits, std::span(earlier).first(i), options));
    return ids;
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

// What is shown of pieces that come one after the other, and at the end; '|' stands where the answer was stopped.
std::string shown(StopTexts stops, const std::vector<std::string>& pieces) {
    std::string text;
    for (const std::string& piece : pieces) {
        bool stopped = false;
        text += stops.push(piece, stopped);
        if (stopped) return text + '|';
    }
    return text + stops.flush();
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

TEST_CASE("stop texts: what may be the beginning of one is held back") {
    const StopTexts stops({"</s>", "\n\n"});
    CHECK(shown(stops, {"a </", "b>", "\n"}) == "a </b>\n");
    CHECK(shown(stops, {"a <", "/", "s> b", "c"}) == "a |");
    CHECK(shown(stops, {"a\n\nb</s>"}) == "a|");
    CHECK(shown(stops, {"a</s>b\n\n"}) == "a|");
    CHECK(shown(stops, {"</</s>"}) == "</|");
    CHECK(shown(StopTexts({}), {"a", "b"}) == "ab");
    StopTexts holding({"xy"});
    bool stopped = false;
    CHECK(holding.push("ax", stopped) == "a");
    CHECK(holding.push("z", stopped) == "xz");
    CHECK_FALSE(stopped);
}

TEST_CASE("generate: only tokens of the vocabulary are chosen") {
    const Model model = open_model(small_model());
    const auto backend = make_cpu_backend();
    ProgramSet set(*backend);
    const auto llama = declare_llama(set.store(), model, {});
    Generator generator(set, *llama, {.context = 32});
    set.allocate([&] { load_weights(set.store(), *llama, *model.weights); });
    const std::vector<int32_t> prompt = model.tokenizer.encode("Once upon");
    GenerationOptions options;
    options.sampler = plain(0);
    options.max_new_tokens = 12;
    const std::vector<int32_t> all = generator.generate(prompt, options).tokens;
    const int32_t greatest = *std::ranges::max_element(all);
    options.vocabulary = greatest;
    const std::vector<int32_t> fewer = generator.generate(prompt, options).tokens;
    CHECK(fewer.size() == 12);
    for (const int32_t id : fewer) CHECK(id < greatest);
}

TEST_CASE("generate: a seed repeats its text, another one gives another") {
    GenerateOptions options = greedy(small_model(), "Once upon a time");
    options.sampler.temperature = 1;
    const std::string first = generate(options).text;
    CHECK(generate(options).text == first);
    options.sampler.seed = 43;
    CHECK(generate(options).text != first);
}

TEST_CASE("generate: a stop text ends the answer and is not shown") {
    GenerateOptions options = greedy(small_model(), "Once upon a time");
    const Generated whole = generate(options);
    const std::string stop = whole.text.substr(whole.text.size() / 2, 3);
    options.stop = {stop};
    const Generated cut = generate(options);
    CHECK(cut.text == whole.text.substr(0, whole.text.find(stop)));
    CHECK(cut.result.reason == StopReason::stopped);
}

TEST_CASE("generate: a cache in half precision takes less memory and hardly changes the answer") {
    GenerateOptions options = greedy(small_model(), "Once upon a time");
    options.max_length = 512;  // so that the cache is a part of the memory that is noted
    const Generated whole = generate(options);
    for (const DType dtype : {DType::f16, DType::bf16}) {
        CAPTURE(name(dtype));
        options.kv_dtype = dtype;
        const Generated half = generate(options);
        CHECK(half.result.new_tokens == 16);
        CHECK(half.text.substr(0, 12) == whole.text.substr(0, 12));
        CHECK(half.notes != whole.notes);
    }
}

}  // namespace ggq::test
