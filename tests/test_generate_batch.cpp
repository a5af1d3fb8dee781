// Several answers at a time: each is what it is alone, in the order of the prompts; and what is said of a file of them.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "models/generate/batch.h"
#include "models/generate/prompt_lines.h"
#include "tests/file_checks.h"
#include "tests/gpu.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

using Json = nlohmann::ordered_json;

// A small model on a device with so many slots.
struct Slots {
    Model model = open_model(small_model());
    ProgramSet set;
    std::unique_ptr<Llama> llama;
    Generator generator;

    Slots(Backend& backend, int64_t n_slots, int64_t context)
        : set(backend),
          llama(declare_llama(set.store(), model, {})),
          generator(set, *llama, {context, DType::f32, n_slots}) {
        set.allocate([&] { load_weights(set.store(), *llama, *model.weights); });
    }

    // Of different lengths, one of them longer than a chunk of the prefill.
    std::vector<Request> requests(const SamplerOptions& sampler) const {
        std::vector<Request> all;
        std::string text = "Once upon a time there was";
        for (int i = 0; i < 7; ++i) {
            GenerationOptions options;
            options.sampler = sampler;
            options.max_new_tokens = 5 + 7 * (i % 3);
            all.push_back({model.tokenizer.encode(text), options});
            text += i == 3 ? std::string(" a little dog and a cat").append(text).append(text).append(text) : " a girl";
        }
        all[2].options.max_new_tokens = 1;
        return all;
    }

    std::vector<std::vector<int32_t>> answers(const std::vector<Request>& requests) {
        std::vector<std::vector<int32_t>> tokens(requests.size());
        size_t n = 0;
        generate_batch(
            generator, [&] { return n < requests.size() ? &requests[n++] : nullptr; },
            [&](const Request& r, const Generation& answer) {
                tokens[static_cast<size_t>(&r - requests.data())] = answer.tokens;
            });
        return tokens;
    }
};

constexpr int64_t kContext = 300;

// What each request gets alone.
std::vector<std::vector<int32_t>> alone(Backend& backend, const SamplerOptions& sampler) {
    Slots slots(backend, 1, kContext);
    std::vector<std::vector<int32_t>> tokens;
    for (const Request& r : slots.requests(sampler))
        tokens.push_back(slots.generator.generate(r.prompt, r.options).tokens);
    return tokens;
}

GenerateOptions batch_options(const std::filesystem::path& model, const std::filesystem::path& file) {
    GenerateOptions options = greedy(model, "");
    options.batch = file;
    options.batch_size = 2;
    return options;
}

std::string prompts_text(const std::vector<std::string>& prompts) {
    std::string text;
    for (const std::string& prompt : prompts) text += Json{{"prompt", prompt}}.dump() + "\n";
    return text;
}

const std::vector<std::string> kPrompts = {"Once upon a time", "Lily likes", "The dog", "One day, Tom went to the",
                                           "She said"};

}  // namespace

TEST_CASE("batch: each answer is what it is alone, on every device") {
    SamplerOptions hot{.temperature = 1, .top_k = 0, .top_p = 0.98};
    hot.repeat_penalty = 1.1;
    for (Backend* device : devices())
        for (const SamplerOptions& sampler : {SamplerOptions{.temperature = 0}, SamplerOptions{}, hot}) {
            INFO("on ", std::string(device->name()));
            CAPTURE(sampler.temperature);
            const auto expected = alone(*device, sampler);
            for (const int64_t n_slots : {2, 3, 8}) {
                CAPTURE(n_slots);
                Slots slots(*device, n_slots, kContext);
                const std::vector<Request> requests = slots.requests(sampler);
                CHECK(slots.answers(requests) == expected);
                CHECK(slots.answers(requests) == expected);  // in slots that have been used
            }
        }
}

TEST_CASE("batch: a full context ends an answer and leaves its neighbours alone") {
    const auto backend = make_cpu_backend(2);
    const SamplerOptions sampler{.temperature = 0};
    Slots small(*backend, 3, 40);
    std::vector<Request> requests = small.requests(sampler);
    requests.resize(3);
    for (Request& r : requests) r.options.max_new_tokens = 100;
    std::vector<Generation> ended;
    size_t n = 0;
    generate_batch(
        small.generator, [&] { return n < requests.size() ? &requests[n++] : nullptr; },
        [&](const Request& r, const Generation& answer) {
            CHECK(answer.reason == StopReason::context);
            CHECK(r.prompt.size() + answer.tokens.size() == 40);
            ended.push_back(answer);
        });
    CHECK(ended.size() == 3);
    Slots one(*backend, 1, 40);
    CHECK(one.generator.generate(requests[2].prompt, requests[2].options).tokens == ended[0].tokens);
}

TEST_CASE("batch: a line of JSON for each prompt, in their order") {
    const Workplace place;
    write_text(place / "prompts.jsonl", prompts_text(kPrompts));
    GenerateOptions options = batch_options(place.model, place / "prompts.jsonl");
    options.stop = {"."};
    const Generated all = generate(options);
    CHECK(all.result.n_prompts == 5);
    size_t at = 0;
    for (const std::string& prompt : kPrompts) {
        CAPTURE(prompt);
        GenerateOptions single = greedy(place.model, prompt);
        single.stop = options.stop;
        const Generated alone = generate(single);
        const size_t end = all.text.find('\n', at);
        REQUIRE(end != std::string::npos);
        const Json line = Json::parse(all.text.substr(at, end - at));
        at = end + 1;
        CHECK(line.at("text") == alone.text);
        CHECK(line.at("prompt_tokens") == alone.result.prompt_tokens);
        CHECK(line.at("new_tokens") == alone.result.new_tokens);
        CHECK(line.at("stop_reason") == (alone.result.reason == StopReason::stopped ? "stop_text" : "length"));
    }
    CHECK(at == all.text.size());
    check_contains(all.notes, "5 prompts, 2 at a time; the longest has ");
}

TEST_CASE("batch: what is wrong with a file of prompts is said of its line") {
    const Workplace place;
    const auto file = place / "prompts.jsonl";
    const auto error_for = [&](const std::string& text) {
        write_text(file, text);
        return error_of([&] { generate(batch_options(place.model, file)); });
    };
    const std::string name = file.string(), good = "{\"prompt\": \"Once\"}\n\n";
    CHECK(error_for("\n") == name + ": expected JSON lines with a key prompt, got none");
    CHECK(error_for(good + "[1]") == name + ": line 3: expected an object with a key prompt, got array");
    CHECK(error_for(good + "{\"text\": \"a\"}") ==
          name + ": line 3: expected an object with a key prompt, got one without");
    CHECK(error_for(good + "{\"prompt\": 1}") == name + ": line 3: expected prompt to be a text, got number");
    check_contains(error_for(good + "{\"prompt\""), name + ": broken JSON on line 3: ");
    GenerateOptions options = batch_options(place.model, file);
    write_text(file, good + "{\"prompt\": \"one two three four five six\"}");
    options.max_length = 6;
    check_contains(error_of([&] { generate(options); }), "line 3: it has ");
    options.prompt = "Once";
    CHECK(error_of([&] { generate(options); }) == "`batch`: expected a file or a `prompt`, got both");
}

TEST_CASE("batch: its caches are in the plan, and stdout holds nothing but the answers") {
    const Workplace place;
    const auto file = place / "prompts.jsonl";
    write_text(file, prompts_text(kPrompts));
    const ProgramRun plan = run_binary("generate", {"--model", place.model, "--device", "cpu", "--quiet", "--plan",
                                                    "--batch", file, "--batch-size", "4", "--max-length", "128"});
    CHECK(plan.code == 0);
    check_contains(plan.out, "\n  4 KV caches of 128 tokens ");
    const ProgramRun run = run_binary(
        "generate", {"--model", place.model, "--device", "cpu", "--quiet", "--temp", "0", "--batch", file, "-n", "3"});
    CHECK(run.code == 0);
    CHECK(run.err == "");
    CHECK(std::ranges::count(run.out, '\n') == 5);
}

}  // namespace ggq::test
