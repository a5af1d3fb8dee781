// Ending an answer: stop texts, the tokens that can be chosen, and the cache's types.
#include <doctest/doctest.h>

#include <algorithm>

#include "models/generate/generator.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

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
    options.sampler.temperature = 0;
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
