// Several adapters at once: what they compute is the sum of what each adds, with scales that can be changed afterwards.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "models/adapter_mix.h"
#include "models/evaluate/evaluation.h"
#include "models/generate/prompt_lines.h"
#include "tests/file_checks.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

// Two adapters of different ranks and targets on the small model.
struct TwoAdapters {
    Workplace place;
    fs::path first = place / "first", second = place / "second";

    TwoAdapters() {
        TrainOptions options = place.options(12);
        options.output = first;
        train(options);
        options.output = second;
        options.lora.r = 4;
        options.lora.alpha = 12;
        options.lora.rslora = true;
        options.lora.targets = "q_proj,up_proj";
        options.seed = 7;
        train(options);
    }

    double loss(const std::vector<AdapterChoice>& adapters) const {
        EvaluateOptions o;
        o.base.model = place.model;
        o.base.device = "cpu";
        o.data = place.data;
        o.max_length = 64;
        o.adapters = adapters;
        return run_evaluation(o, {}).loss;
    }

    std::vector<std::string> answers(const std::vector<AdapterChoice>& adapters, const std::string& lines) const {
        write_text(place / "p.jsonl", lines);
        GenerateOptions o = greedy(place.model, "");
        o.batch = place / "p.jsonl";
        o.adapters = adapters;
        std::vector<std::string> texts;
        GenerateEvents events;
        events.line = [&](const std::string& line) { texts.push_back(nlohmann::json::parse(line)["text"]); };
        run_generation(o, events);
        return texts;
    }
};

}  // namespace

TEST_CASE("adapters: several add up, each with its scale") {
    const TwoAdapters two;
    const double base = two.loss({}), a = two.loss({{two.first, 1}}), b = two.loss({{two.second, 0.5}});
    CHECK(a < base);
    // One of them switched off is the other alone; twice a half is the whole.
    CHECK(two.loss({{two.first, 1}, {two.second, 0}}) == doctest::Approx(a).epsilon(1e-5));
    CHECK(two.loss({{two.first, 0}, {two.second, 0.5}}) == doctest::Approx(b).epsilon(1e-5));
    CHECK(two.loss({{two.first, 0.5}, {two.first, 0.5}}) == doctest::Approx(a).epsilon(1e-5));
    const double both = two.loss({{two.first, 1}, {two.second, 1}});
    CHECK(std::abs(both - a) > 1e-4);
}

TEST_CASE("adapters: the sum of two is what their product says") {
    const TwoAdapters two;
    const Adapter a = read_adapter(two.first), b = read_adapter(two.second);
    const Adapter mixed = mix_adapters({{&a, 0.5}, {&b, 2}});
    CHECK(mixed.modules.size() == a.modules.size());
    const std::string both = "model.layers.0.self_attn.q_proj", one = "model.layers.0.self_attn.k_proj";
    CHECK(mixed.modules.at(both).a.shape == Shape{a.config.r + 4, a.modules.at(both).a.shape[1]});
    CHECK(lora_rank(both, mixed.config) == a.config.r + 4);
    CHECK(lora_rank(one, mixed.config) == a.config.r);
    CHECK(lora_scale(both, mixed.config) == 1);
    CHECK(lora_scale(one, mixed.config) == 1);
    const auto value = [](const FileTensor& t, int64_t i) { return static_cast<const float*>(t.data)[i]; };
    const LoraTensors &m = mixed.modules.at(both), &second = b.modules.at(both);
    const int64_t r = a.config.r + 4;
    CHECK(value(m.b, r) == doctest::Approx(0.5 * lora_scale(both, a.config) * value(a.modules.at(both).b, a.config.r)));
    CHECK(value(m.b, r + a.config.r) == doctest::Approx(2 * (12 / 2.0) * value(second.b, 4)));
    CHECK(value(m.a, a.config.r * m.a.shape[1]) == value(second.a, 0));
}

TEST_CASE("adapters: lines of a batch say which of them answer") {
    const TwoAdapters two;
    const std::string prompt = R"({"prompt": "7. Who likes Mia? ")";
    const std::string plain = prompt + "}\n", first = prompt + R"(, "lora": [{"id": 0, "scale": 1}]})" + "\n",
                      second = prompt + R"(, "lora": [{"id": 1, "scale": 0.5}]})" + "\n",
                      none = prompt + R"(, "lora": []})" + "\n";
    const std::vector<AdapterChoice> both = {{two.first, 0.25}, {two.second, 0.25}};
    const auto switched = two.answers(both, first + second + none + plain + first);
    REQUIRE(switched.size() == 5);
    CHECK(switched[0] == two.answers({{two.first, 1}}, plain)[0]);
    CHECK(switched[1] == two.answers({{two.second, 0.5}}, plain)[0]);
    CHECK(switched[2] == two.answers({}, plain)[0]);
    CHECK(switched[3] == two.answers(both, plain)[0]);
    CHECK(switched[4] == switched[0]);
    CHECK(switched[0] != switched[2]);
    // A single one as well.
    CHECK(two.answers({{two.first, 0.5}}, none + first) == std::vector{switched[2], switched[0]});
    check_contains(error_of([&] {
                       two.answers({{two.first, 1}}, second);
                   }),
                   "p.jsonl: line 1: lora: there is no adapter 1, there are 1");
    check_contains(error_of([&] { two.answers({}, prompt + R"(, "lora": [{"id": -1}]})"); }),
                   "p.jsonl: line 1: lora: expected an object with id and scale, got ");
    check_contains(error_of([&] { two.answers({{two.first, 0}}, first); }), "its scale was 0 from the start");
}

TEST_CASE("adapters: /lora in a conversation") {
    const TwoAdapters two;
    GenerateOptions o = greedy(two.place.model, "");
    o.chat = true;
    o.template_name = "vicuna";
    o.adapters = {{two.first, 1}, {two.second, 1}};
    const auto said = [&](const std::vector<std::string>& lines, const std::vector<AdapterChoice>& adapters,
                          std::string& notes) {
        GenerateOptions options = o;
        options.adapters = adapters;
        std::string text;
        size_t at = 0;
        GenerateEvents events;
        events.text = [&](const std::string& piece) { text += piece; };
        events.note = events.warning = [&](const std::string& line) { notes += line + "\n"; };
        events.ask = [&] { return at < lines.size() ? std::optional(lines[at++]) : std::nullopt; };
        run_generation(options, events);
        return text;
    };
    std::string notes, ignored;
    const std::string text = said({"/lora 1 0", "Who likes Mia?", "/lora 2 1", "/lora x", "/lora"}, o.adapters, notes);
    CHECK(text == said({"Who likes Mia?"}, {{two.first, 1}}, ignored));
    check_contains(notes, "0: " + two.first.string() + ", scale 1\n1: " + two.second.string() + ", scale 0\n");
    check_contains(notes, "/lora: expected the number of an adapter and a scale, got '2 1'; there are 2 adapters");
}

}  // namespace ggq::test
