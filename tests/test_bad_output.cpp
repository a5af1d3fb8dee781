// Output folders that cannot be used and disks that are full: nothing that was there is lost, nothing half written.
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>

#include "tests/file_checks.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

constexpr const char* kAdapter = "adapter_model.safetensors";
constexpr uint64_t kSmallFile = 40'000;  // less than the adapter needs, more than the log

std::string refusal(const Workplace& place, const fs::path& output) {
    TrainOptions options = place.options(1);
    options.output = output;
    return error_of([&] { train(options); });
}

Strings arguments(const Workplace& place, Strings more = {}) {
    Strings args = {"-m",           place.model, "-d",       place.data, "-o",           place.out, "--max-steps", "4",
                    "--save-every", "2",         "--lora-r", "4",        "--max-length", "64",      "--log-every", "1"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
}

bool has_leftovers(const fs::path& folder) {
    return std::ranges::any_of(fs::recursive_directory_iterator(folder), [](const auto& entry) {
        return entry.path().filename().string().find(".tmp") != std::string::npos;
    });
}

// The last line that the program wrote to stderr.
std::string last_line(const std::string& text) {
    const size_t end = text.find_last_not_of('\n');
    const size_t begin = text.rfind('\n', end);
    return text.substr(begin + 1, end - begin);
}

}  // namespace

TEST_CASE("bad output: a folder with content is refused, and its content stays") {
    const Workplace place;
    write_text(place.out / "precious.txt", "mine");
    CHECK(refusal(place, place.out) ==
          "the output folder " + place.out.string() + " is not empty; choose another one or allow it with `overwrite`");
    CHECK(files_in(place.out) == Strings{"precious.txt"});
    TrainOptions options = place.options(1);
    options.overwrite = true;
    train(options);
    CHECK(content_of(place.out / "precious.txt") == "mine");
    CHECK(fs::exists(place.out / kAdapter));
}

TEST_CASE("bad output: a file, below a file, or a folder that is not writable") {
    const Workplace place;
    const std::string data = content_of(place.data);
    CHECK(refusal(place, place.data) == "the output folder " + place.data.string() + " is a file; choose another name");
    check_contains(refusal(place, place.data / "out"), "cannot make the folder " + (place.data / "out").string());
    CHECK(content_of(place.data) == data);
}

TEST_CASE("bad output: a folder that is not writable, and one that cannot be made in it") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    constexpr auto kReadOnly = fs::perms(0555);  // for nobody too, if root runs this test
    for (const fs::path& folder : {model, place.data.parent_path()})
        fs::permissions(folder, kReadOnly | fs::perms::owner_write);
    fs::create_directory(place.out);
    fs::permissions(place.out, kReadOnly);
    const ProgramRun run = run_binary("train", arguments(place, {"-m", model, "--quiet"}), {.no_root = true});
    CHECK(run.code == 1);
    CHECK(last_line(run.err) == "train: cannot write " + place.out.string() + ": Permission denied");
    const fs::path inner = place.out / "a/b";
    const ProgramRun other = run_binary("train", arguments(place, {"-m", model, "-o", inner}), {.no_root = true});
    CHECK(other.code == 1);
    CHECK(last_line(other.err) == "train: cannot make the folder " + inner.string() + ": Permission denied");
}

TEST_CASE("bad output: a disk that has no room for a checkpoint") {
    const Workplace place;
    const ProgramRun run = run_binary("train", arguments(place), {kSmallFile});
    CHECK(run.code == 1);
    const std::string file = (place.out / "checkpoint-0.tmp").string();  // before the first update
    check_contains(last_line(run.err), "train: cannot write " + file);
    check_contains(last_line(run.err), ": File too large");
    CHECK(files_in(place.out) == Strings{"log.jsonl"});
    CHECK_FALSE(has_leftovers(place.out));
}

TEST_CASE("bad output: a disk that is full from the beginning") {
    const Workplace place;
    const ProgramRun run = run_binary("train", arguments(place, {"--quiet"}), {1000});
    CHECK(run.code == 1);
    CHECK(last_line(run.err) == "train: cannot write " + (place.out / "log.jsonl").string() + ": File too large");
    CHECK_FALSE(fs::exists(place.out));
}

TEST_CASE("bad output: a disk so full that not even the error can be written") {
    const Workplace place;
    CHECK(run_binary("train", arguments(place), {1000}).code == 1);
    CHECK(run_binary("generate", {"-m", place.model, "-p", "Once", "--quiet"}, {4}).code == 1);
}

TEST_CASE("bad output: a disk that becomes full leaves what was saved, and the run can go on") {
    const Workplace place;
    Child child("train", arguments(place, {"--max-steps", "100000", "--save-every", "100000"}));
    REQUIRE(child.wait_for("step 3/"));
    child.signal(SIGINT);
    REQUIRE(child.finish().code == 130);
    Strings before = files_in(place.out);
    const Strings resume = {"--max-steps", "100000", "--save-every", "1", "--resume"};
    const ProgramRun run = run_binary("train", arguments(place, resume), {kSmallFile});
    CHECK(run.code == 1);
    check_contains(last_line(run.err), "train: cannot write ");
    CHECK(files_in(place.out) == before);
    CHECK_FALSE(has_leftovers(place.out));
    Child again("train", arguments(place, resume));
    CHECK(again.wait_for("resumed from "));
    again.signal(SIGINT);
    CHECK(again.finish().code == 130);
}

}  // namespace ggq::test
