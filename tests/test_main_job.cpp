// The main job on real input: a trained Llama learns from Alpaca's records in NF4 with LoRA, with the defaults of
// `train` but for the rate, which suits so small a model, and the number of updates.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>

#include "models/train/log.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/golden.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

constexpr size_t kTrained = 512, kUnseen = 100;

std::vector<double> logged_losses(const fs::path& folder) {
    std::vector<double> losses;
    for (const auto& entry : read_log(folder / "log.jsonl").history)
        if (entry.contains("loss")) losses.push_back(entry["loss"]);
    return losses;
}

double mean(std::span<const double> values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// The first records behind those that are trained on that surely fit the model's positions.
nlohmann::json unseen_records(const nlohmann::json& records) {
    nlohmann::json unseen = nlohmann::json::array();
    for (size_t i = kTrained; unseen.size() < kUnseen; ++i)
        if (records.at(i).dump().size() < 500) unseen.push_back(records[i]);
    return unseen;
}

}  // namespace

TEST_CASE("slow: the main job on real input") {
    const auto root = fixtures();
    const fs::path model = root.value_or("") / "data/stories260k-hf";
    const fs::path data = root.value_or("") / "data/instruct/alpaca_4000.json";
    if (!fs::exists(model) || !fs::exists(data)) return skipped("data/stories260k-hf and data/instruct/alpaca_4000");
    const TempDir dir;
    write_text(dir / "unseen.json", unseen_records(read_json(data)).dump());

    TrainOptions options;
    options.base.model = model;
    options.data = data;
    options.val_data = dir / "unseen.json";
    options.output = dir / "out";
    options.limit = kTrained;
    options.grad_accum = 1;
    options.epochs = 2;
    options.lr = 5e-3;
    options.log_every = 5;

    TrainOptions untrained = options;
    untrained.output = dir / "untrained";
    untrained.max_steps = 1;
    untrained.lr = 1e-9;
    const double unseen_before = train(untrained).result.eval_loss;

    const Observed run = train(options);
    check_contains(run.notes, "(100 for validation)");
    const std::vector<double> losses = logged_losses(options.output);
    REQUIRE(losses.size() >= 10);
    const std::span all(losses);
    CHECK(mean(all.last(5)) < mean(all.first(5)) - 0.3);
    CHECK(run.result.eval_loss < unseen_before - 0.3);
    CHECK(run.result.allocations_after_first_step == 0);
    MESSAGE("loss " << mean(all.first(5)) << " -> " << mean(all.last(5)) << ", unseen " << unseen_before << " -> "
                    << run.result.eval_loss);

    GenerateOptions question = greedy(model, "Name three colors.");
    question.template_name = "alpaca";
    question.max_new_tokens = 48;
    const std::string before = generate(question).text;
    question.adapters = {{options.output, 1}};
    const Generated after = generate(question);
    CHECK(after.warnings == "");
    CHECK(after.text != before);
}

}  // namespace ggq::test
