// The programs as a person runs them: what goes to stdout and stderr, exit codes, signals, help.
#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "examples/support/flags.h"
#include "ggq/device.h"
#include "tests/file_checks.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

Strings operator+(Strings a, const Strings& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

Strings train_args(const Workplace& place) {
    return {"--model", place.model,    "--data", place.data,    "--output", place.out,  "--lora-r",
            "4",       "--max-length", "64",     "--log-every", "1",        "--device", "cpu"};
}

Strings generate_args(const Workplace& place) {
    return {"--model", place.model, "--prompt", "Once upon a time", "--temp", "0", "-n", "16", "--device", "cpu"};
}

void check_one_line(const ProgramRun& run, int code, const std::string& line) {
    CHECK(run.code == code);
    CHECK(run.out == "");
    CHECK(run.err == line + "\n");
}

// A long run that gets `number` after a few updates: it saves, says how to go on, and does go on.
void check_interrupt(int number) {
    const Workplace place;
    const Strings args = train_args(place) + Strings{"--max-steps", "100000"};
    Child first("train", args);
    REQUIRE(first.wait_for("step 3/"));
    first.signal(number);
    const ProgramRun run = first.finish();
    CHECK(run.code == 130);
    check_contains(run.err, "the checkpoint is saved, go on with --resume\n");
    CHECK_FALSE(fs::exists(place.out / "adapter_model.safetensors"));
    CHECK(fs::exists(place.out / "loss.png"));

    Child second("train", args + Strings{"--resume"});
    CHECK(second.wait_for("resumed from " + (place.out / "checkpoint-").string()));
    CHECK(second.wait_for("step "));
    second.signal(number);
    CHECK(second.finish().code == 130);
}

}  // namespace

TEST_CASE("programs: train and generate, from data to text") {
    const Workplace place;
    const ProgramRun run = run_binary("train", train_args(place) + Strings{"--max-steps", "3"});
    CHECK(run.code == 0);
    CHECK(run.out == "");
    for (const char* part : {"trainable params: ", "before training, greedy:", "step 3/3 | loss ", "tokens/s",
                             "after training, greedy:", "saved to "})
        check_contains(run.err, part);
    CHECK(content_of(place.out / "loss.png").starts_with("\x89PNG\r\n\x1a\n"));

    const ProgramRun plain = run_binary("generate", generate_args(place));
    CHECK(plain.code == 0);
    CHECK(plain.out == generate(greedy(place.model, "Once upon a time")).text + "\n");
    check_contains(plain.err, "16 new tokens in ");
    const ProgramRun adapted =
        run_binary("generate", generate_args(place) + Strings{"--quiet", "--adapter", place.out});
    CHECK(adapted.code == 0);
    CHECK(adapted.out == generate(greedy(place.model, "Once upon a time", place.out)).text + "\n");
    CHECK(adapted.err == "");
}

TEST_CASE("programs: generate says on stderr that the context is full") {
    const Workplace place;
    const ProgramRun run = run_binary("generate", generate_args(place) + Strings{"--max-length", "10", "--quiet"});
    CHECK(run.code == 0);
    CHECK(run.err == "stopped: the context of 10 tokens is full; raise --max-length for more\n");
    const fs::path model = place.copy_of_model();
    change_config(model, "max_position_embeddings", 10);
    const ProgramRun all = run_binary("generate", generate_args(place) + Strings{"--model", model, "--quiet"});
    CHECK(all.code == 0);
    CHECK(all.err == "stopped: the context of 10 tokens is full; the model takes no more\n");
}

TEST_CASE("programs: a wrong command line gives one line and exit code 2") {
    const Workplace place;
    check_one_line(run_binary("train", train_args(place) + Strings{"--lora-rr", "4"}), 2,
                   "train: unknown flag --lora-rr; did you mean --lora-r?");
    check_one_line(run_binary("generate", {"--mdoel", "x"}), 2,
                   "generate: unknown flag --mdoel; did you mean --model?");
    check_one_line(run_binary("train", train_args(place) + Strings{"--lr", "fast"}), 2,
                   "train: --lr: expected a number, got 'fast'");
    check_one_line(run_binary("train", {"--model", "x", "--data", "y"}), 2,
                   "train: --output DIR is missing: folder of the result, empty or new");
    CHECK_FALSE(fs::exists(place.out));
}

TEST_CASE("programs: whatever else is wrong gives one line and exit code 1") {
    const Workplace place;
    check_one_line(run_binary("train", train_args(place) + Strings{"--data", "nowhere.json"}), 1,
                   "train: nowhere.json: no such file");
    check_one_line(run_binary("train", train_args(place) + Strings{"--lr", "nan"}), 1,
                   "train: --lr: expected a number above 0, got nan");
    check_one_line(
        run_binary("train", train_args(place) + Strings{"--device", "cuda:99"}), 1,
        cuda_info().problem.empty()
            ? fmt::format("train: --device cuda:99: this machine has {} CUDA devices", cuda_info().gpus.size())
            : "train: --device cuda:99: " + cuda_info().problem + "; use --device cpu");
    check_one_line(run_binary("generate", generate_args(place) + Strings{"--model", "nowhere"}), 1,
                   "generate: nowhere: expected a model folder (config.json, tokenizer.json, weights) or a GGUF file");
    CHECK_FALSE(fs::exists(place.out));
}

TEST_CASE("programs: a plan is printed and nothing written") {
    const Workplace place;
    const ProgramRun run = run_binary("train", train_args(place) + Strings{"--plan"});
    CHECK(run.code == 0);
    CHECK(run.out.starts_with("memory:\n  weights, frozen "));
    check_contains(run.out, "\n  peak ");
    check_contains(run.err, "trainable params: ");
    CHECK_FALSE(fs::exists(place.out));
}

TEST_CASE("programs: a plan and a graph go to stdout without an output folder, and when quiet too") {
    const Workplace place;
    const Strings args = {"-m", place.model, "-d", place.data, "--max-length", "64", "--quiet", "--max-steps", "20"};
    const ProgramRun plan = run_binary("train", args + Strings{"--plan"});
    CHECK(plan.code == 0);
    CHECK(plan.out.starts_with("memory:\n"));
    CHECK(plan.err == "");
    const ProgramRun graph = run_binary("train", args + Strings{"--print-graph"});
    CHECK(graph.code == 0);
    CHECK(graph.out.starts_with("embedding "));
    CHECK(graph.out.find("memory:") == std::string::npos);
    CHECK(graph.err == "");
}

TEST_CASE("programs: a sample is shown in its own words") {
    const Workplace place;
    write_text(place.data, sample_lines(8) + R"({"prompt": "Take `output` and `seed`: ", "completion": "\u001b[2J"})"
                                             "\n");
    const ProgramRun run = run_binary("train", train_args(place) + Strings{"--plan", "--show-samples", "9"});
    CHECK(run.code == 0);
    check_contains(run.err, "Take `output` and `seed`: ");
    CHECK(run.err.find('\x1b') == std::string::npos);
}

TEST_CASE("programs: a quiet run still warns") {
    const Workplace place;
    const ProgramRun run = run_binary("train", train_args(place) + Strings{"--max-steps", "1", "--quiet"});
    CHECK(run.code == 0);
    CHECK(run.out == "");
    CHECK(run.err ==
          "warning: only 1 updates: too few to learn much; lower --batch-size or --grad-accum, or raise --epochs\n");
}

TEST_CASE("programs: the help mentions every flag, and the version is told") {
    TrainOptions train_options;
    GenerateOptions generate_options;
    const FlagTable tables[] = {train_flags(train_options), generate_flags(generate_options)};
    const char* const programs[] = {"train", "generate"};
    for (size_t i = 0; i < 2; ++i) {
        const ProgramRun help = run_binary(programs[i], {"--help"});
        CHECK(help.code == 0);
        CHECK(help.err == "");
        for (const Flag& flag : tables[i].flags())
            if (!flag.stands_for.size()) check_contains(help.out, flag.names[0]);
        const ProgramRun version = run_binary(programs[i], {"--version"});
        CHECK(version.code == 0);
        CHECK(version.out.starts_with(std::string("ggq ") + programs[i] + " "));
    }
}

#ifdef GGQ_OLD_DRIVER
TEST_CASE("programs: a driver that is too old is named, and auto is the CPU") {
    const char* before = std::getenv("LD_LIBRARY_PATH");
    const std::string restored = before ? before : "";
    setenv("LD_LIBRARY_PATH", (GGQ_OLD_DRIVER ":" + restored).c_str(), 1);
    const Workplace place;
    const std::string problem =
        "the NVIDIA driver supports CUDA 11.4, this program needs 12.0 or later; update the driver";
    check_contains(run_binary("info", {}).out, "driver: supports CUDA 11.4\n");
    check_contains(run_binary("info", {}).out, "no GPU can be used: " + problem + "\n");
    const Strings args{"--model", place.model, "--prompt", "Once upon a time", "--temp", "0", "-n", "4"};
    check_one_line(run_binary("generate", args + Strings{"--device", "cuda"}), 1,
                   "generate: --device cuda: " + problem + "; use --device cpu");
    const ProgramRun automatic = run_binary("generate", args);
    CHECK(automatic.code == 0);
    check_contains(automatic.err, "no GPU is used: " + problem + "\ndevice: cpu, ");
    setenv("LD_LIBRARY_PATH", restored.c_str(), 1);
}
#endif

TEST_CASE("programs: an interrupt saves and ends, and the run goes on later") {
    check_interrupt(SIGINT);
    check_interrupt(SIGTERM);
}

TEST_CASE("programs: a second interrupt ends at once") {
    const Workplace place;
    // An update of some seconds, so that both interrupts come before its end.
    Child child("train", train_args(place) + Strings{"--max-length", "512", "--batch-size", "64", "--epochs", "1000"});
    REQUIRE(child.wait_for("before training, greedy:"));
    child.signal(SIGINT);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    child.signal(SIGINT);
    const ProgramRun run = child.finish();
    CHECK(run.code == 130);
    CHECK(run.err.find("the checkpoint is saved") == std::string::npos);
    CHECK(files_in(place.out) == Strings{"log.jsonl"});
}

TEST_CASE("programs: an interrupt ends an answer, with what there is of it") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    change_config(model, "max_position_embeddings", 100'000);  // an answer of minutes
    Child child("generate", generate_args(place) + Strings{"--model", model, "-n", "50000"});
    REQUIRE(child.wait_for("prompt tokens, context"));
    child.signal(SIGINT);
    CHECK(child.finish().code == 130);
}

}  // namespace ggq::test
