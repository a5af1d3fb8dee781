// Merging adapters: against PEFT's merges, against base + adapter, in shards, and what is refused.
#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "ggq/io/atomic_file.h"
#include "ggq/io/sharded_safetensors.h"
#include "models/merge/merge.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/golden.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

MergeOptions merge_options(const fs::path& model, const fs::path& adapter, const fs::path& output) {
    MergeOptions o;
    o.base.model = model;
    o.base.device = "cpu";
    o.adapters = {{adapter, 1}};
    o.output = output;
    o.report.train_on_prompt = true;
    o.report.batch_size = 1;
    o.report.max_length = 64;
    return o;
}

struct Merged {
    MergeResult result;
    std::string warnings, notes;
};

Merged merge(const MergeOptions& options) {
    Merged merged;
    Events events;
    events.warning = [&](const std::string& line) { merged.warnings += line + "\n"; };
    events.note = [&](const std::string& line) { merged.notes += line + "\n"; };
    merged.result = run_merge(options, events);
    return merged;
}

// A model with an adapter that was trained for a while on it in NF4.
struct Trained : Workplace {
    Trained() {
        TrainOptions o = options(20);
        train(o);
    }
    MergeOptions merging(const std::string& name) const {
        MergeOptions o = merge_options(model, out, *this / name);
        o.report.data = data;
        return o;
    }
};

double kl_of(const MergeResult& result, size_t i = 0) {
    REQUIRE(result.reports.size() > i);
    return result.reports[i].difference.kl;
}

}  // namespace

TEST_CASE("merge: the folder holds what PEFT's merge gives") {
    for (const fs::path& folder : golden_folders({"model/config.json", "adapter_final", "merged_layers.safetensors"})) {
        CAPTURE(folder);
        const TempDir dir;
        const Merged merged = merge(merge_options(folder / "model", folder / "adapter_final", dir / "out"));
        CHECK(merged.result.onto == MergeBase::original);
        check_contains(merged.warnings, "does not record how its base was quantized");
        const ShardedSafetensors ours(dir / "out");
        const SafetensorsFile expected(folder / "merged_layers.safetensors");
        for (const auto& [name, tensor] : expected.tensors()) {
            CAPTURE(name);
            std::vector<std::byte> bytes;
            CHECK(relative_l2(to_doubles(ours.read(name, bytes)), to_doubles(tensor)) < 1e-6);
        }
        CHECK(json::parse(content_of(dir / "out" / "config.json")) ==
              json::parse(content_of(folder / "model" / "config.json")));
    }
}

TEST_CASE("merge: into what the base restored to in training, it is base + adapter; into others it is not") {
    const Trained place;
    MergeOptions o = place.merging("f32");
    o.dtype = DType::f32;
    o.compare_bases = true;
    const Merged f32 = merge(o);
    REQUIRE(f32.result.reports.size() == 3);
    CHECK(f32.result.onto == MergeBase::dequantized);
    CHECK(kl_of(f32.result) <= 1e-6);
    const Comparison& same = f32.result.reports[0].difference;
    CHECK(same.same_top == 1);
    CHECK(same.largest_difference < 1e-3);
    CHECK(same.n_tokens > 100);
    CHECK(std::abs(same.other_perplexity() - same.reference_perplexity()) < 1e-4);
    CHECK(f32.result.reports[1].onto == MergeBase::original);
    CHECK(kl_of(f32.result, 1) > 1e-4);
    CHECK(f32.result.reports[2].onto == MergeBase::requantized);
    CHECK(kl_of(f32.result, 2) > 1e-4);
    o = place.merging("bf16");
    o.dtype = DType::bf16;
    const Merged bf16 = merge(o);
    CHECK(kl_of(bf16.result) <= 1e-4);
    CHECK(kl_of(bf16.result) > kl_of(f32.result));
    CHECK(json::parse(content_of(place / "bf16/config.json")).value("dtype", "") +
              json::parse(content_of(place / "bf16/config.json")).value("torch_dtype", "") ==
          "bfloat16");
    for (const MergeBase onto : {MergeBase::original, MergeBase::requantized}) {
        o = place.merging("other");
        o.onto = onto;
        o.overwrite = true;
        CHECK(kl_of(merge(o).result) > 1e-4);
    }
    const Model requantized = open_model(place / "other");
    CHECK(requantized.weights->quantized() == QuantForm{DType::nf4, {64, true}});
    CHECK(requantized.warnings.empty());
}

TEST_CASE("merge: the merged folder answers as base + adapter, whole or in shards, and needs no adapter") {
    const Trained place;
    MergeOptions o = place.merging("merged");
    o.report.data.clear();
    o.dtype = DType::f32;
    merge(o);
    GenerateOptions with_adapter = greedy(place.model, "Once upon a time", place.out);
    GenerateOptions without = greedy(place / "merged", "Once upon a time");
    without.base.quant = std::nullopt;
    CHECK(generate(without).text == generate(with_adapter).text);
    o.output = place / "shards";
    o.shard_size = "50000";
    merge(o);
    CHECK(fs::exists(place / "shards/model.safetensors.index.json"));
    const ShardedSafetensors one(place / "merged"), many(place / "shards");
    CHECK(many.files().size() > 2);
    REQUIRE(one.names() == many.names());
    std::vector<std::byte> a, b;
    for (const std::string& name : one.names()) CHECK(to_doubles(one.read(name, a)) == to_doubles(many.read(name, b)));
    // What an older, larger model left is gone.
    o.output = place / "shards";
    o.shard_size = "5GB";
    o.overwrite = true;
    merge(o);
    CHECK_FALSE(fs::exists(place / "shards/model.safetensors.index.json"));
    CHECK(ShardedSafetensors(place / "shards").files().size() == 1);
}

TEST_CASE("merge: two adapters add up, each by its scale") {
    const Trained place;
    MergeOptions o = place.merging("twice");
    o.dtype = DType::f32;
    o.adapters = {{place.out, 0.25}, {place.out, 0.75}};
    const Merged twice = merge(o);
    CHECK(kl_of(twice.result) <= 1e-6);
    o = place.merging("once");
    o.dtype = DType::f32;
    merge(o);
    const ShardedSafetensors one(place / "once"), two(place / "twice");
    std::vector<std::byte> a, b;
    for (const std::string& name : one.names())
        CHECK(relative_l2(to_doubles(two.read(name, a)), to_doubles(one.read(name, b))) < 1e-6);
}

TEST_CASE("merge: a 4-bit folder is a base, of which only what it restores to can be had") {
    const Trained place;
    MergeOptions o = place.merging("requantized");
    o.onto = MergeBase::requantized;
    merge(o);
    MergeOptions again = merge_options(place / "requantized", place.out, place / "again");
    again.report.data = place.data;
    again.dtype = DType::f32;
    const Merged merged = merge(again);
    CHECK(merged.result.onto == MergeBase::dequantized);
    CHECK(kl_of(merged.result) <= 1e-6);
    CHECK_FALSE(json::parse(content_of(place / "again/config.json")).contains("quantization_config"));
    again.onto = MergeBase::original;
    check_contains(error_of([&] { merge(again); }), "`merge_base` original: ");
}

TEST_CASE("merge: what cannot be done is refused before anything is written") {
    const Trained place;
    MergeOptions o = place.merging("out2");
    o.adapters.clear();
    CHECK(error_of([&] { merge(o); }) == "`adapter`: expected one adapter or more, got none");
    o = place.merging("out2");
    o.output = place.model;
    o.overwrite = true;
    check_contains(error_of([&] { merge(o); }), "is the model that is read; choose another one");
    o = place.merging("out2");
    o.output = place.out;
    check_contains(error_of([&] { merge(o); }), "is not empty");
    o = place.merging("out2");
    o.report.data = "nowhere.json";
    check_contains(error_of([&] { merge(o); }), "nowhere.json: no such file");
    fs::remove(place.out / "ggq_base.json");
    o = place.merging("out2");
    o.onto = MergeBase::dequantized;
    check_contains(error_of([&] { merge(o); }), "`merge_base` dequantized: nothing says how the base was quantized");
    CHECK_FALSE(fs::exists(place / "out2"));
}

TEST_CASE("merge: the program prints what it did and measured") {
    const Trained place;
    const ProgramRun run =
        run_binary("merge", {"--model", place.model, "--adapter", place.out, "--output", place / "merged", "--dtype",
                             "f32", "--report-data", place.data, "--max-length", "64", "--json", "--device", "cpu"});
    CHECK(run.code == 0);
    const json result = json::parse(run.out);
    CHECK(result.at("merge_base") == "dequantized");
    CHECK(result.at("reports").at(0).at("mean_kl") <= 1e-6);
    CHECK(result.at("reports").at(0).at("top1_agreement") == 1);
    const ProgramRun bad = run_binary("merge", {"--model", place.model, "--output", place / "x"});
    CHECK(bad.code == 2);
    check_contains(bad.err, "merge: --adapter PATH is missing");
}

TEST_CASE("merge: rounding that is larger than an update erases it") {
    RoundingLoss kept, lost, drowned;
    const std::vector<float> base = {1, 2}, sum = {1.5f, 2.5f}, near = {1.5f, 2.51f}, far = {3, 2.5f};
    kept.add(base, sum, base, near);
    CHECK_FALSE(kept.erases());
    CHECK(kept.error() == doctest::Approx(0.01 / std::sqrt(0.5)).epsilon(1e-5));
    lost.add(base, sum, base, base);
    CHECK(lost.erases());
    CHECK(lost.unchanged() == 1);
    drowned.add(base, sum, base, far);
    CHECK(drowned.erases());
    RoundingSummary summary;
    summary.add("a", kept);
    CHECK_FALSE(summary.warning("bf16"));
    summary.add("b", drowned);
    check_contains(summary.warning("bf16").value_or(""),
                   "stored as bf16, 1 of 2 merged weights lose what the adapter "
                   "adds: in b the rounding is 2.12 times as large");
}

}  // namespace ggq::test
