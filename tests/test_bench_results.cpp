// Results of benches: what counts as moved, how files are joined, and what is refused.
#include <doctest/doctest.h>

#include "bench/readme_table.h"
#include "bench/results.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"

using namespace ggq;
using namespace ggq::bench;
using nlohmann::json, nlohmann::ordered_json;

namespace {

json run(const std::string& name, double time, const std::string& unit = "us") {
    return {{"name", name}, {"run_type", "iteration"}, {"real_time", time}, {"time_unit", unit}};
}

ordered_json part(const std::string& device, const std::string& family) {
    return {{"context", {{"device", device}, {"family", family}, {"commit", "abc"}}},
            {"benchmarks", {{{"name", family + "/1"}}}}};
}

}  // namespace

TEST_CASE("bench results: times are read by case, in one unit, without aggregates and failures") {
    json failed = run("b", 0), mean = run("a_mean", 5);
    failed["error_occurred"] = true;
    mean["run_type"] = "aggregate";
    const Times times =
        times_of({{"benchmarks", {run("a/min_time:0.1/manual_time", 2), run("a", 0.004, "ms"), failed, mean}}}, "file");
    CHECK(times.size() == 1);
    CHECK(times.at("a") == std::vector<double>{2000, 4000});
    CHECK_THROWS_WITH_AS(times_of({{"rows", 1}}, "x.json"), doctest::Contains("x.json: expected results"), Error);
}

TEST_CASE("bench results: median, spread and movement") {
    CHECK(median({3, 1, 2}) == 2);
    CHECK(median({4, 1, 2, 3}) == 2.5);
    CHECK(spread({90, 100, 110}) == doctest::Approx(0.2));
    const Movement faster{"a", 100, 50, 0.1}, slower{"b", 100, 200, 0.1};
    CHECK(faster.relative() == doctest::Approx(-0.5));
    CHECK(faster.distance() == doctest::Approx(slower.distance()));
}

TEST_CASE("bench results: only what moved by more than either file's spread is shown, the farthest first") {
    const Times before = {{"far", {100, 102}}, {"near", {100, 101}}, {"noisy", {100, 150}}, {"gone", {1, 1}}};
    const Times after = {{"far", {30, 31}}, {"near", {110, 111}}, {"noisy", {140, 141}}, {"new", {1, 1}}};
    const Comparison c = compare(before, after);
    REQUIRE(c.moved.size() == 2);
    CHECK(c.moved[0].name == "far");
    CHECK(c.moved[1].name == "near");
    CHECK(c.n_compared == 3);
    CHECK(c.only_before == std::vector<std::string>{"gone"});
    CHECK(c.only_after == std::vector<std::string>{"new"});
    CHECK(table(c).find("2 of 3 cases moved beyond the noise; 1 only in the first file; 1 only in the second") !=
          std::string::npos);
}

TEST_CASE("bench results: a case that was not repeated is refused") {
    CHECK_THROWS_WITH_AS(compare({{"a", {1}}}, {{"a", {1, 2}}}), doctest::Contains("got 1 and 2; measure with"), Error);
}

TEST_CASE("bench results: families are joined, devices are not") {
    const ordered_json whole = joined({part("cpu", "one"), part("cpu", "two")});
    CHECK(whole["benchmarks"].size() == 2);
    CHECK(whole["context"]["commit"] == "abc");
    CHECK_FALSE(whole["context"].contains("family"));
    CHECK(ordered_json::parse(to_text(whole)) == whole);
    CHECK_THROWS_WITH_AS(joined({part("cpu", "one"), part("cuda", "two")}), doctest::Contains("join them apart"),
                         Error);
    CHECK(file_name_of("NVIDIA H200") == "nvidia-h200");
    CHECK(file_name_of("cpu, 8 threads, avx2") == "cpu-8-threads-avx2");
}

TEST_CASE("README's table of steps is what the measured files give") {
    const std::string root = GGQ_SOURCE_DIR "/", page = read_text_file(root + "README.md");
    const auto read = [&](const char* file) { return parse_ordered_json(read_text_file(root + file), file); };
    CHECK(with_block(page, "steps", steps_table(read(kSteps), read(kPeers))) == page);
}

TEST_CASE("bench results: measured rows replace those of their name and stand beside the peers") {
    const ordered_json old = {{"rows", {{{"what", "a"}, {"tokens_per_second", 1}}}}};
    const ordered_json row = {{"what", "a"},
                              {"tokens_per_second", 12.4},
                              {"share_of_ceiling", 0.381},
                              {"ceiling_gb_s", 4212},
                              {"peak_gib", 5}};
    ordered_json other = row;
    other["what"] = "b";
    const ordered_json whole = with_rows(old, {row, other}, context_of("NVIDIA H200", "commit=abc,runs=3"));
    CHECK(whole["rows"].size() == 2);
    CHECK(whole["rows"][0]["measured"]["commit"] == "abc");
    CHECK(steps_table(whole, {{"peers", {"P"}}, {"rows", {{"b", {{"P", {{"tokens_per_second", 3}}}}}}}}) ==
          "| | figure | share of the ceiling | peak memory | P |\n|---|---|---|---|---|\n"
          "| a | 12 tokens/s | 38 % of a copy, 4.2 TB/s | 5.0 GiB |  |\n"
          "| b | 12 tokens/s | 38 % of a copy, 4.2 TB/s | 5.0 GiB | 3 tokens/s |\n");
    CHECK(card_of("cuda:0, NVIDIA H200, libcublas.so.13") == "NVIDIA H200");
    CHECK(ordered_json::parse(steps_text(whole)) == ordered_json{{"rows", whole["rows"]}});
    CHECK_THROWS_WITH_AS(with_block("page", "steps", ""), doctest::Contains("expected a page with the lines"), Error);
}
