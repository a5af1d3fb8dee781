// The demo on a GPU and on the CPU: the same first losses, the same success.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tests/fixtures.h"
#include "tests/gpu.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

const fs::path& demo_base() {
    static const fs::path path = source_dir() / "examples/demo/base";
    return path;
}

// As examples/demo/run.sh trains.
TrainOptions demo_options(const TempDir& task, const char* device) {
    TrainOptions o;
    o.base.model = demo_base();
    o.base.device = device;
    o.data = task / "train.jsonl";
    o.val_data = task / "test.jsonl";
    o.output = task / device;
    o.overwrite = true;
    o.max_length = 128;
    o.grad_accum = 1;
    o.lr = 1e-3;
    return o;
}

// What the demo trains on and is tested with.
struct Task : TempDir {
    Task() {
        const std::string make =
            fmt::format("sh '{}' '{}'", (source_dir() / "examples/demo/make_task.sh").string(), path().string());
        REQUIRE(std::system(make.c_str()) == 0);
    }
};

int n_right(const TempDir& task, const fs::path& adapter) {
    std::ifstream lines(task / "test.jsonl");
    int n = 0;
    for (std::string line; std::getline(lines, line);) {
        const auto sample = nlohmann::json::parse(line);
        GenerateOptions o = greedy(demo_base(), sample["instruction"], adapter);
        o.template_name = "alpaca";
        o.max_new_tokens = 40;
        n += generate(o).text == sample["output"].get<std::string>();
    }
    return n;
}

}  // namespace

TEST_CASE("gpu: the demo's first 50 losses in float are those of the CPU") {
    if (!require_gpu()) return;
    const Task task;
    const auto losses = [&](const char* device) {
        TrainOptions o = demo_options(task, device);
        o.base.compute_dtype = DType::f32;
        o.optim = OptimKind::adamw;
        o.max_steps = 50;
        return train(o).losses();
    };
    const std::vector<double> actual = losses("cuda"), expected = losses("cpu");
    REQUIRE(actual.size() == 50);
    REQUIRE(expected.size() == 50);
    for (size_t i = 0; i < actual.size(); ++i) CHECK(std::abs(actual[i] - expected[i]) <= 1e-3 * expected[i]);
}

// The loss of a whole run, not that of its end, which is 1/80 of it and turns with every rounding: of six seeds one
// ended 4.4 % apart on an H200 and on a CPU, both in float, and bf16 between 1.9 % below the CPU and 6.1 % above. Their
// mean losses of training were 0.46 % to 0.70 % above the CPU's in bf16, and within 0.03 % of it in float.
TEST_CASE("gpu: the demo learns as on the CPU") {
    if (!require_gpu()) return;
    const Task task;
    const auto mean_loss = [&](const char* device) {
        const Observed run = train(demo_options(task, device));
        CHECK(run.result.eval_loss < 0.004);
        const std::vector<double> losses = run.losses();
        return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(losses.size());
    };
    const double actual = mean_loss("cuda"), expected = mean_loss("cpu");
    INFO("mean loss ", actual, ", on the CPU ", expected);
    CHECK(std::abs(actual - expected) <= 0.01 * expected);
    for (const char* device : {"cuda", "cpu"}) CHECK(n_right(task, task / device) > 180);  // of 200
}

}  // namespace ggq::test
