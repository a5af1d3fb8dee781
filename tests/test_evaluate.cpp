// evaluate: the loss of a data file, the one that training measures, of a base as of a base with an adapter.
#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "models/evaluate/evaluation.h"
#include "tests/file_checks.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

EvaluateOptions evaluation_of(const Workplace& place, const fs::path& data, const fs::path& adapter = {}) {
    EvaluateOptions o;
    o.base.model = place.model;
    o.base.device = "cpu";
    o.data = data;
    o.max_length = 64;
    if (!adapter.empty()) o.adapters = {{adapter, 1}};
    return o;
}

struct Evaluated {
    Evaluation result;
    std::string notes, warnings;
};

Evaluated evaluate(const EvaluateOptions& options) {
    Evaluated seen;
    Events events;
    events.note = [&](const std::string& line) { seen.notes += line + '\n'; };
    events.warning = [&](const std::string& line) { seen.warnings += line + '\n'; };
    seen.result = run_evaluation(options, events);
    return seen;
}

}  // namespace

TEST_CASE("evaluate: the loss of an adapter is the validation loss of the run that made it") {
    const Workplace place;
    const fs::path unseen = place / "unseen.jsonl";
    write_text(unseen, sample_lines(20, 100));
    TrainOptions options = place.options(12);
    options.val_data = unseen;
    const Observed run = train(options);
    const Evaluation before = evaluate(evaluation_of(place, unseen)).result;
    const Evaluated after = evaluate(evaluation_of(place, unseen, place.out));
    CHECK(after.result.loss == doctest::Approx(run.result.eval_loss).epsilon(1e-6));
    CHECK(after.result.loss < before.loss - 0.5);
    CHECK(perplexity(after.result) == doctest::Approx(std::exp(run.result.eval_loss)));
    CHECK(after.result.n_samples == 20);
    CHECK(after.warnings == "");
    CHECK(after.notes.find("for validation") == std::string::npos);
    check_contains(after.notes, "20 samples, longest");
    check_contains(after.notes, "base in nf4, blocks of 64, double scales");
}

TEST_CASE("evaluate: how samples share rows and micro-batches changes rounding only") {
    const Workplace place;
    EvaluateOptions options = evaluation_of(place, place.data);
    const Evaluation packed = evaluate(options).result;
    options.batch_size = 1;
    const Evaluation single_rows = evaluate(options).result;
    options.packing = false;
    const Evaluation alone = evaluate(options).result;
    for (const Evaluation& e : {single_rows, alone}) {
        CHECK(e.label_tokens == packed.label_tokens);
        CHECK(e.n_tokens == packed.n_tokens);
        CHECK(e.loss == doctest::Approx(packed.loss).epsilon(1e-5));
    }
    CHECK(alone.n_batches == 60);
}

TEST_CASE("evaluate: the program prints one line, or JSON for other programs") {
    const Workplace place;
    const std::vector<std::string> args = {"-m", place.model, "-d", place.data, "-c", "64", "--device", "cpu"};
    const ProgramRun text = run_binary("evaluate", args);
    CHECK(text.code == 0);
    check_contains(text.out, "perplexity ");
    check_contains(text.err, "60 records");
    std::vector<std::string> quiet = args;
    quiet.insert(quiet.end(), {"--json", "--quiet"});
    const ProgramRun json = run_binary("evaluate", quiet);
    CHECK(json.err == "");
    const auto result = nlohmann::json::parse(json.out);
    const double loss = result.at("loss");
    CHECK(result.at("perplexity").get<double>() == doctest::Approx(std::exp(loss)));
    CHECK(result.at("samples") == 60);
}

TEST_CASE("evaluate: what cannot be evaluated is refused in one sentence") {
    const Workplace place;
    EvaluateOptions options = evaluation_of(place, place / "nowhere.jsonl");
    check_contains(error_of([&] { evaluate(options); }), "nowhere.jsonl: no such file");
    options.data = place.data;
    options.max_length = 1 << 20;
    check_contains(error_of([&] { evaluate(options); }), "positions; use at most that many");
    options.max_length = 64;
    Events stopping;
    stopping.stop = [] { return true; };
    CHECK_THROWS_AS(run_evaluation(options, stopping), Interrupted);
}

}  // namespace ggq::test
