// Training on a GPU: the same bits from run to run, after a resume and without recordings, the CPU's losses in float,
// memory as planned.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>

#include "tests/file_checks.h"
#include "tests/gpu.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

TrainOptions gpu_options(const Workplace& place, int64_t n_steps) {
    TrainOptions o = place.options(n_steps);
    o.base.device = "cuda";
    return o;
}

std::string trained(TrainOptions options) {
    train(options);
    return content_of(std::filesystem::path(options.output) / "adapter_model.safetensors");
}

}  // namespace

TEST_CASE("gpu: two runs of 50 updates give the same bits") {
    if (!require_gpu()) return;
    const Workplace one, other;
    CHECK(trained(gpu_options(one, 50)) == trained(gpu_options(other, 50)));
}

TEST_CASE("gpu: a run that stops after 25 updates and goes on gives the bits of an unbroken one") {
    if (!require_gpu()) return;
    for (DType compute : {DType::bf16, DType::f16}) {
        const Workplace whole, broken;
        TrainOptions options = gpu_options(whole, 50);
        options.base.compute_dtype = compute;
        const std::string expected = trained(options);
        options.output = broken.out;
        train(options, 25);
        options.resume = "";
        CHECK(trained(options) == expected);
    }
}

TEST_CASE("gpu: recorded programs and their steps one by one give the same bits") {
    if (!require_gpu()) return;
    const Workplace recorded, apart;
    const std::string expected = trained(gpu_options(recorded, 20));
    setenv("GGQ_SYNC", "1", 1);
    const std::string actual = trained(gpu_options(apart, 20));
    unsetenv("GGQ_SYNC");
    CHECK(actual == expected);
}

TEST_CASE("gpu: losses in float are those of the CPU") {
    if (!require_gpu()) return;
    const Workplace on_gpu, on_cpu;
    const auto losses = [](TrainOptions o) {
        o.base.compute_dtype = DType::f32;
        o.optim = OptimKind::adamw;
        return train(o).losses();
    };
    const std::vector<double> actual = losses(gpu_options(on_gpu, 50)), expected = losses(on_cpu.options(50));
    REQUIRE(actual.size() == expected.size());
    for (size_t i = 0; i < actual.size(); ++i) CHECK(std::abs(actual[i] - expected[i]) <= 1e-3 * expected[i]);
}

TEST_CASE("gpu: nothing is allocated after the first update, and the limit of memory holds") {
    Backend* gpu = require_gpu();
    if (!gpu) return;
    const Workplace place;
    TrainOptions options = gpu_options(place, 5);
    CHECK(train(options).result.allocations_after_first_step == 0);
    options.overwrite = true;
    options.base.gpu_memory = "100MiB";
    check_contains(error_of([&] { train(options); }), "memory: the plan needs ");
}

}  // namespace ggq::test
