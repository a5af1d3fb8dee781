// What must not depend on how a run is carried out: micro-batches and packing (to rounding); seed, threads, recompute
// and interruptions (to the bit).
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "models/train/log.h"
#include "tests/file_checks.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kAdapter = "adapter_model.safetensors";

using Change = std::function<void(TrainOptions&)>;

void check_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i) {
        CAPTURE(i);
        CHECK(std::abs(a[i] - b[i]) <= tolerance * std::abs(b[i]));
    }
}

Observed run_with(const Change& change, int64_t max_steps) {
    const Workplace place;
    TrainOptions options = place.options(max_steps);
    options.optim = OptimKind::adamw;
    change(options);
    return train(options);
}

void check_same_curve(const Change& one, const Change& other) {
    const Observed a = run_with(one, 4), b = run_with(other, 4);
    check_close(a.losses(), b.losses(), 1e-4);
    check_close(a.norms(), b.norms(), 1e-3);
}

// The adapter's file after three updates with dropout.
std::string adapter_bytes(const Change& change) {
    const Workplace place;
    TrainOptions options = place.options(3);
    options.lora.dropout = 0.1;
    change(options);
    train(options);
    return content_of(place.out / kAdapter);
}

// Entries of the log without what depends on the clock.
std::vector<Json> timeless_log(const fs::path& folder) {
    std::vector<Json> entries;
    for (Json entry : read_log(folder / "log.jsonl").history) {
        for (const char* key : {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "train_runtime",
                                "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos",
                                "tflops", "ceiling_tflops", "share_of_ceiling"})
            entry.erase(key);
        entries.push_back(std::move(entry));
    }
    return entries;
}

void check_same_results(const fs::path& a, const fs::path& b) {
    CHECK(files_in(a) == files_in(b));
    for (const std::string& file : files_in(a)) {
        CAPTURE(file);
        const std::string name = fs::path(file).filename();
        if (name != "log.jsonl" && name != "trainer_state.json") CHECK(content_of(a / file) == content_of(b / file));
    }
    CHECK(timeless_log(a) == timeless_log(b));
}

// A run of 14 updates in one go, and one that is interrupted twice, in its first and in its second epoch.
void check_resume(const char* what, const Change& change) {
    CAPTURE(what);
    const Workplace place;
    TrainOptions options = place.options(14);
    options.lora.dropout = 0.1;
    options.log_every = 4;
    change(options);
    const Observed straight = train(options);
    REQUIRE_FALSE(straight.steps.empty());
    REQUIRE(straight.steps.back().epoch > 1);

    options.output = place / "resumed";
    CHECK(train(options, 3).result.interrupted);
    CHECK_FALSE(fs::exists(fs::path(options.output) / kAdapter));  // not done yet
    options.resume = "";
    const Observed second = train(options, 9);
    CHECK(second.result.interrupted);
    REQUIRE_FALSE(second.steps.empty());
    CHECK(second.steps.front().step == 4);
    CHECK_FALSE(train(options).result.interrupted);
    for (const char* part : {"checkpoint-3", "checkpoint-9"}) fs::remove_all(place / "resumed" / part);
    check_same_results(place.out, options.output);
}

}  // namespace

TEST_CASE("exactness: 16 x 1 = 4 x 4 = 1 x 16 samples in an update") {
    const auto batches = [](int64_t rows, int64_t count) {
        return [=](TrainOptions& o) { o.packing = false, o.batch_size = rows, o.grad_accum = count; };
    };
    check_same_curve(batches(16, 1), batches(4, 4));
    check_same_curve(batches(1, 16), batches(4, 4));
}

TEST_CASE("exactness: packed = one sample in a row") {
    check_same_curve([](TrainOptions& o) { o.batch_size = 8, o.grad_accum = 8; },
                     [](TrainOptions& o) { o.packing = false, o.batch_size = 15, o.grad_accum = 4; });
}

TEST_CASE("exactness: the same seed gives the same adapter, another seed another one") {
    const auto seed = [](uint64_t value) { return [=](TrainOptions& o) { o.seed = value; }; };
    CHECK(adapter_bytes(seed(1)) == adapter_bytes(seed(1)));
    CHECK(adapter_bytes(seed(1)) != adapter_bytes(seed(2)));
}

TEST_CASE("exactness: any number of threads gives the same adapter") {
    const auto threads = [](int n) { return [=](TrainOptions& o) { o.base.threads = n; }; };
    const std::string one = adapter_bytes(threads(1));
    for (const int n : {2, 3, 5}) {
        CAPTURE(n);
        CHECK(bool(adapter_bytes(threads(n)) == one));
    }
}

TEST_CASE("exactness: recomputed activations give the same adapter as kept ones") {
    const auto recompute = [](Recompute how) { return [=](TrainOptions& o) { o.recompute = how; }; };
    CHECK(bool(adapter_bytes(recompute(Recompute::none)) == adapter_bytes(recompute(Recompute::full))));
}

TEST_CASE("exactness: an interrupted run that goes on ends with the same bits") {
    check_resume("8-bit optimizer", [](TrainOptions&) {});
    check_resume("32-bit optimizer", [](TrainOptions& o) { o.optim = OptimKind::adamw; });
    check_resume("bf16 adapter", [](TrainOptions& o) { o.lora.adapter_dtype = DType::bf16; });
    check_resume("no packing", [](TrainOptions& o) { o.packing = false, o.grad_accum = 2; });
    check_resume("linear rate, validation", [](TrainOptions& o) {
        o.lr_scheduler = LrScheduler::linear;
        o.val_split = 0.1;
        o.eval_every = 3;
        o.patience = 20;
    });
}

TEST_CASE("exactness: full training that was interrupted ends with the same bits") {
    const auto full = [](TrainOptions& o) { o.train = TrainKind::full, o.lr = 1e-3, o.weight_decay = 0.1; };
    const Workplace place;
    TrainOptions options = place.options(8);
    full(options);
    train(options);
    options.output = place / "resumed";
    train(options, 3);
    options.resume = "";
    train(options);
    fs::remove_all(place / "resumed/checkpoint-3");
    check_same_results(place.out, options.output);
}

TEST_CASE("resume: a run that had ended has nothing left to do") {
    const Workplace place;
    TrainOptions options = place.options(3);
    options.val_split = 0.1;
    train(options);
    const std::string adapter = content_of(place.out / kAdapter);
    options.resume = "";
    const Observed again = train(options);
    CHECK(again.steps.empty());
    CHECK(again.result.steps == 3);
    CHECK(content_of(place.out / kAdapter) == adapter);
}

TEST_CASE("resume: from a checkpoint that is named, into another folder") {
    const Workplace place;
    TrainOptions options = place.options(4);
    options.save_every = 2;
    train(options);
    options.output = place / "other";
    options.resume = place.out / "checkpoint-2";
    const Observed run = train(options);
    CHECK(run.steps.size() == 2);
    CHECK(content_of(place.out / kAdapter) == content_of(place / "other" / kAdapter));
}

}  // namespace ggq::test
