// Training on a GPU: the same bits from run to run, after a resume and without recordings, the CPU's losses in float,
// memory as planned, and what is left when the process or the device dies.
#include <doctest/doctest.h>

#include <cmath>
#include <csignal>
#include <cstdlib>

#include "ggq/ops.h"
#include "tests/case_run.h"
#include "tests/file_checks.h"
#include "tests/gpu.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

TrainOptions gpu_options(const Workplace& place, int64_t n_steps) {
    TrainOptions o = place.options(n_steps);
    o.base.device = "cuda";
    return o;
}

std::string adapter_in(const std::filesystem::path& folder) { return content_of(folder / "adapter_model.safetensors"); }

std::string trained(TrainOptions options) {
    train(options);
    return adapter_in(options.output);
}

// Looks up a row far outside of a table. After that no call of this process succeeds on the device.
void break_device(Backend& gpu) {
    const std::vector<float> table(4096);
    const int32_t far = INT32_MAX;
    const std::string error = error_of([&] {
        run_once(gpu, "lookup", {{{DType::f32, {4, 1024}, {}}, table.data()}, {{DType::i32, {1}, {}}, &far}},
                 [](const std::vector<Tensor>& in) { return embedding(in[0], in[1]); });
    });
    if (std::getenv("GGQ_SYNC")) return check_contains(error, "lookup: [embedding]");
    check_contains(error, "lookup: CUDA: ");
    check_contains(error, "GGQ_SYNC=1");
}

std::vector<std::string> train_args(const Workplace& place, const char* folder) {
    return {"--model",     place.model, "--data",      place.data, "--output",     place / folder,
            "--device",    "cuda",      "--max-steps", "120",      "--save-every", "25",
            "--log-every", "1",         "--lora-r",    "4",        "--max-length", "64"};
}

constexpr const char* kPlaceOfDeath = "GGQ_TEST_PLACE";

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

TEST_CASE("gpu: a process that is killed goes on from its last checkpoint to the bits of an unbroken run") {
    if (!require_gpu()) return;
    const Workplace place;
    Child child("train", train_args(place, "broken"));
    REQUIRE(child.wait_for("step 30/"));
    child.signal(SIGKILL);
    CHECK(child.finish().code == 128 + SIGKILL);
    CHECK_FALSE(std::filesystem::exists(place / "broken" / "adapter_model.safetensors"));
    std::vector<std::string> again = train_args(place, "broken");
    again.emplace_back("--resume");
    CHECK(run_binary("train", again).code == 0);
    CHECK(run_binary("train", train_args(place, "whole")).code == 0);
    CHECK(adapter_in(place / "broken") == adapter_in(place / "whole"));
}

// Not for itself: the case after it runs this one in a process that may die.
TEST_CASE("gpu: the device fails during the 8th update" * doctest::skip()) {
    Backend* gpu = require_gpu();
    const char* out = std::getenv(kPlaceOfDeath);
    REQUIRE((gpu && out));
    const Workplace place;
    TrainOptions options = gpu_options(place, 20);
    options.output = out;
    options.save_every = 5;
    TrainEvents events;
    events.step = [&](const StepReport& report) {
        if (report.step == 7) break_device(*gpu);
    };
    const std::string error = error_of([&] { run_training(options, events); });
    check_contains(error, "CUDA: ");
    check_contains(error, "checkpoint-5 is whole, and `resume` goes on from it");
}

TEST_CASE("gpu: when the device fails, the error names the program and the run goes on from its last checkpoint") {
    if (!require_gpu()) return;
    const Workplace place, whole;
    setenv(kPlaceOfDeath, place.out.c_str(), 1);
    const ProgramRun run =
        run_binary("ggq-tests", {"--no-skip", "--test-case=gpu: the device fails during the 8th update"});
    INFO(run.out, run.err);
    CHECK(run.code == 0);
    setenv("GGQ_SYNC", "1", 1);
    setenv(kPlaceOfDeath, (place / "apart").c_str(), 1);
    CHECK(run_binary("ggq-tests", {"--no-skip", "--test-case=gpu: the device fails during the 8th update"}).code == 0);
    unsetenv("GGQ_SYNC");
    unsetenv(kPlaceOfDeath);
    CHECK_FALSE(std::filesystem::exists(place.out / "adapter_model.safetensors"));
    TrainOptions options = gpu_options(place, 20);
    options.save_every = 5;
    options.resume = "";
    const Observed rest = train(options);
    check_contains(rest.notes, "checkpoint-5");
    CHECK(adapter_in(place.out) == trained(gpu_options(whole, 20)));
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

TEST_CASE("gpu: every weight of a tied Llama, trained in bf16 and in float") {
    if (!require_gpu()) return;
    const Workplace in_bf16, in_float;
    const auto losses = [](TrainOptions o, std::optional<DType> compute) {
        o.train = TrainKind::full;
        o.lr = 1e-3;
        o.base.compute_dtype = compute;
        return train(o).losses();
    };
    TrainOptions bf16 = gpu_options(in_bf16, 20), f32 = gpu_options(in_float, 20);
    bf16.base.model = in_bf16.tied_model();
    f32.base.model = in_float.tied_model();
    const std::vector<double> actual = losses(bf16, std::nullopt), expected = losses(f32, DType::f32);
    REQUIRE(actual.size() == expected.size());
    for (size_t i = 0; i < actual.size(); ++i) CHECK(std::abs(actual[i] - expected[i]) <= 2e-2 * expected[i]);
}

TEST_CASE("gpu: nothing is allocated after the first update") {
    if (!require_gpu()) return;
    const Workplace place;
    CHECK(train(gpu_options(place, 5)).result.allocations_after_first_step == 0);
}

// In processes of their own, whose memory on the device starts with nothing.
TEST_CASE("gpu: --gpu-memory holds for the driver's part, the plan and all that comes later") {
    if (!require_gpu()) return;
    const Workplace place;
    const auto run = [&](const std::vector<std::string>& more) {
        std::vector<std::string> args = train_args(place, "limited");
        args.insert(args.end(), more.begin(), more.end());
        return run_binary("train", args);
    };
    check_contains(run({"--gpu-memory", "100MiB"}).err, "the limit is 0.10 GiB");
    const std::string refusal = run({"--gpu-memory", "1GiB", "--batch-size", "4096", "--max-length", "512"}).err;
    check_contains(refusal, "memory: the plan needs ");
    check_contains(refusal, " are free (--gpu-memory 1GiB), ");
    check_contains(refusal, " MiB too few; it would fit with --batch-size 1 with a larger --grad-accum");
    const ProgramRun held = run({"--gpu-memory", "1GiB"});  // the backend throws where the process holds more
    INFO(held.err);
    CHECK(held.code == 0);
}

}  // namespace ggq::test
