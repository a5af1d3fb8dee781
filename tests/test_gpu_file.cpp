// Files that describe a card: what is read back, what is passed over with a note, what is refused.
#include "ggq/gpu_file.h"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/ranking.h"
#include "ggq/error.h"
#include "models/train/run_plan.h"
#include "tests/file_checks.h"
#include "tests/temp_dir.h"

namespace ggq::test {

namespace {

std::string written(const TempDir& folder, const nlohmann::json& json) {
    const std::string path = (folder.path() / "card.json").string();
    std::ofstream(path) << json.dump();
    return path;
}

nlohmann::json h200() { return nlohmann::json::parse(gpu_file_text(gpu_model("h200"))); }

nlohmann::json plan_with(const std::string& gpu) {
    PlanRequest r;
    r.shape = "llama3-8b";
    r.gpu = gpu;
    r.train.batch_size = 1;
    r.train.max_length = 512;
    r.train.grad_accum = 1;
    return nlohmann::json::parse(RunPlan(r).json());
}

}  // namespace

TEST_CASE("gpu file: what is written is read back") {
    TempDir folder;
    GpuModel model = gpu_model("h100");
    model.device.tuning.few_rows = 2;
    const std::string path = written(folder, nlohmann::json::parse(gpu_file_text(model)));
    const GpuFile file = read_gpu_file(path);
    CHECK(file.ignored.empty());
    CHECK(file.model.part == "H100");
    CHECK(file.model.device.tuning == model.device.tuning);
    CHECK(file.model.device.n_sms == model.device.n_sms);
    CHECK(file.model.device.hopper);
    CHECK(file.model.memory_bytes == model.memory_bytes);
    CHECK(file.model.overhead_bytes == model.overhead_bytes);
    CHECK(nlohmann::json::parse(gpu_file_text(file.model)) == nlohmann::json::parse(gpu_file_text(model)));
}

TEST_CASE("gpu file: a plan by a file is the plan by the card's name") {
    TempDir folder;
    nlohmann::json by_file = plan_with(written(folder, h200())), by_name = plan_with("h200");
    CHECK(by_file == by_name);
}

TEST_CASE("gpu file: choices that this version does not have are passed over with a note") {
    TempDir folder;
    nlohmann::json json = h200();
    json["tuning"] = {{"few_rows", 2}, {"some_rows", 65}, {"magic", 1}, {"one_row", "yes"}, {"dequantize", -1}};
    const GpuFile file = read_gpu_file(written(folder, json));
    CHECK(file.model.device.tuning.few_rows == 2);
    CHECK(file.model.device.tuning.some_rows == gpu_model("h200").device.tuning.some_rows);
    REQUIRE(file.ignored.size() == 4);
    check_contains(file.ignored[0], "tuning \"dequantize\" -1 is passed over; expected one of 0, 1");
    check_contains(file.ignored[1], "tuning \"magic\" 1 is passed over; no choice has that name");
}

TEST_CASE("gpu file: costs and choices may be left out, facts may not") {
    TempDir folder;
    nlohmann::json json = h200();
    json.erase("costs");
    json.erase("tuning");
    const GpuFile file = read_gpu_file(written(folder, json));
    CHECK(file.model.costs.ops.size() == gpu_model("h200").costs.ops.size());
    json.erase("capability");
    CHECK_THROWS_WITH_AS(read_gpu_file(written(folder, json)),
                         doctest::Contains("capability must be a whole number of 1 or more, got nothing"), Error);
    json = h200();
    json["costs"]["ops"]["attention"]["flops"] = 0;
    CHECK_THROWS_WITH_AS(read_gpu_file(written(folder, json)), doctest::Contains("costs, \"attention\": flops"), Error);
}

TEST_CASE("tuning: every value that a row has by default is one of its values") {
    for (const cuda::TuningRow& row : cuda::kTuningRows) {
        CAPTURE(row.name);
        CHECK(row.takes(cuda::Tuning{}.*row.value));
        CHECK(row.n_values <= static_cast<int>(std::size(row.values)));
        CHECK(cuda::tuning_row(row.name) == &row);
    }
}

TEST_CASE("tune: the fastest value is taken if it gains more than noise and is right") {
    using namespace ggq::bench;
    const std::vector<Candidate> three = {{1, {2, 2}}, {2, {1, 1}}, {4, {0.5, 0.5}, "differs"}};
    const std::vector<Ranked> list = ranked(three, 1);
    CHECK(list[0].value == 2);
    CHECK(list[0].relative == doctest::Approx(0.5));
    CHECK(list[2].problem == "differs");
    CHECK(chosen_value(list, 1) == 2);
    CHECK(chosen_value(ranked({{1, {1, 1}}, {2, {0.995, 0.995}}}, 1), 1) == 1);
    check_contains(ranking_text(list, 1), "wrong: differs");
}

}  // namespace ggq::test
