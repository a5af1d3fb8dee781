// Signals, limits and streams of the programs: what was reached is saved, what is said is true, and it is said where a
// person looks.
#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>

#include "models/train/run_folder.h"
#include "tests/file_checks.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

Strings arguments(const Workplace& place, const std::string& n_steps, const Strings& more = {}) {
    Strings args = {"-m",          place.model, "-d",          place.data, "-o",           place.out,
                    "--max-steps", n_steps,     "-b",          "2",        "--grad-accum", "1",
                    "--lora-r",    "4",         "--log-every", "1",        "--max-length", "64",
                    "--device",    "cpu",       "--threads",   "1"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
}

void check_saved(const Workplace& place) {
    const auto found = find_checkpoints(place.out);
    REQUIRE_FALSE(found.empty());
    CHECK(found.back().fault == "");
}

}  // namespace

TEST_CASE("signals: a terminal that goes away, a limit of processor time and a manager's wish save and end") {
    for (const int number : {SIGHUP, SIGXCPU, SIGTERM}) {
        CAPTURE(number);
        const Workplace place;
        Child child("train", arguments(place, "100000"));
        REQUIRE(child.wait_for("step 3/"));
        child.signal(number);
        if (number != SIGXCPU) child.signal(SIGHUP);  // a logout sends both: one wish
        CHECK(child.finish().code == 130);
        check_saved(place);
    }
}

TEST_CASE("signals: under nohup a run goes on") {
    const Workplace place;
    Limits limits;
    limits.ignored_signal = SIGHUP;
    Child child("train", arguments(place, "100000"), limits);
    REQUIRE(child.wait_for("step 2/"));
    child.signal(SIGHUP);
    REQUIRE(child.wait_for("step 20/"));
    child.signal(SIGTERM);
    CHECK(child.finish().code == 130);
}

TEST_CASE("signals: while data are read a run ends soon, and leaves nothing") {
    const Workplace place;
    write_text(place.data, sample_lines(200'000));
    Child child("train", arguments(place, "4"));
    REQUIRE(child.wait_for("device: "));
    child.signal(SIGTERM);
    const auto asked = std::chrono::steady_clock::now();
    CHECK(child.finish().code == 130);
    CHECK(std::chrono::steady_clock::now() - asked < std::chrono::seconds(5));
    CHECK_FALSE(fs::exists(place.out));
}

TEST_CASE("streams: a reader of stderr that goes away does not end a run") {
    const Workplace place;
    Limits limits;
    limits.nobody_reads_err = true;
    CHECK(run_binary("train", arguments(place, "3"), limits).code == 0);
    CHECK(fs::exists(place.out / "adapter_model.safetensors"));
}

TEST_CASE("streams: with stdin, stdout and stderr closed the log holds the log") {
    for (const std::vector<int>& closed : {std::vector{2}, std::vector{1, 2}, std::vector{0, 1, 2}}) {
        const Workplace place;
        Limits limits;
        limits.closed = closed;
        CHECK(run_binary("train", arguments(place, "3"), limits).code == 0);
        const LogContent log = read_log(place.out / "log.jsonl");
        REQUIRE(log.history.size() == 4);
        CHECK(log.history[2]["step"] == 3);
    }
}

TEST_CASE("streams: text that cannot be written is said") {
    const Workplace place;
    const Strings prompt = {"-m", place.model, "-p", "Once", "-n", "3", "--device", "cpu", "--quiet"};
    Limits limits;
    limits.closed = {1};
    const ProgramRun closed = run_binary("generate", prompt, limits);
    CHECK(closed.code == 1);
    check_contains(closed.err, "generate: cannot write to stdout: it is closed\n");
    limits = {};
    limits.out = "/dev/full";
    constexpr const char* kFull = ": cannot write to stdout: the disk is full; free some space or write elsewhere\n";
    const ProgramRun full = run_binary("generate", prompt, limits);
    CHECK(full.code == 1);
    CHECK(full.err == std::string("generate") + kFull);
    for (const char* program : {"train", "generate"}) {
        const ProgramRun help = run_binary(program, {"--help"}, limits);
        CHECK(help.code == 1);
        CHECK(help.err == program + std::string(kFull));
    }
    const ProgramRun info = run_binary("info", {}, limits);
    CHECK(info.code == 1);
    limits = {};
    limits.nobody_reads_out = true;
    for (const Strings& args : {prompt, Strings{"--help"}}) {
        const ProgramRun unread = run_binary("generate", args, limits);
        CHECK(unread.code == 1);
        CHECK(unread.err == "generate: cannot write to stdout: whoever read it is gone\n");
    }
}

TEST_CASE("limits: a file that may not grow is named, and so is memory that is out") {
    const Workplace place;
    Limits limits;
    limits.largest_file = 20'000;
    const ProgramRun run = run_binary("train", arguments(place, "4", {"--quiet", "--save-every", "2"}), limits);
    CHECK(run.code == 1);
    check_contains(run.err, "train: cannot write ");
    check_contains(run.err, ": File too large");
    fs::remove_all(place.out);
    write_text(place.data, sample_lines(150'000));
    limits = {};
    limits.most_memory = 24 << 20;
#ifndef __SANITIZE_ADDRESS__  // which reserves more than any machine has
    const ProgramRun starved = run_binary("train", arguments(place, "4", {"--quiet"}), limits);
    CHECK(starved.code == 1);
    CHECK(starved.err == "train: out of memory\n");
    CHECK_FALSE(fs::exists(place.out));
#endif
}

TEST_CASE("streams: a picture that cannot be drawn is a warning, the result is saved") {
    const Workplace place;
    fs::create_directories(place.out / "loss.png" / "in-the-way");
    const ProgramRun run = run_binary("train", arguments(place, "3", {"--overwrite"}));
    CHECK(run.code == 0);
    check_contains(run.err, "warning: loss.png is not drawn: cannot write " + (place.out / "loss.png").string());
    check_contains(run.err, "saved to " + place.out.string());
    CHECK(fs::exists(place.out / "adapter_model.safetensors"));
}

}  // namespace ggq::test
