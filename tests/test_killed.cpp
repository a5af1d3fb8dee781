// Runs that are killed, or whose disk fails, at one of the calls that change files: --resume goes on to the bits of an
// unbroken run or says what to do, and nothing that loads is a mixture of two runs.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include <csignal>
#include <cstdlib>
#include <set>

#include "models/adapter_files.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/program_run.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

constexpr const char* kAdapter = "adapter_model.safetensors";

// Four updates with a checkpoint after each of them, of which two are kept.
Strings arguments(const Workplace& place, const fs::path& out, const Strings& more = {}) {
    Strings args = {"-m",           place.model, "-d",           place.data, "-o",          out,
                    "--max-steps",  "4",         "--save-every", "1",        "--keep-last", "2",
                    "--max-length", "64",        "--log-every",  "1",        "--threads",   "1",
                    "--batch-size", "2",         "--grad-accum", "1",        "--quiet",     "--device",
                    "cpu",          "--lora-r=4"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
}

std::string last_line(const std::string& text) {
    const size_t end = text.find_last_not_of('\n');
    const size_t begin = text.rfind('\n', end);
    return text.substr(begin + 1, end - begin);
}

struct Fault {
    std::string kind;  // kill, half or the number of an errno
    int64_t at = 0;    // call
    bool exchange = true;
};

ProgramRun run_with(const Fault& fault, const fs::path& out, const fs::path& count, const Strings& args) {
    Limits limits;
    limits.environment = {"LD_PRELOAD=" GGQ_FILE_FAULTS, "GGQ_FAULT_DIR=" + out.string(), "GGQ_FAULT=" + fault.kind,
                          fmt::format("GGQ_FAULT_AT={}", fault.at), "GGQ_FAULT_COUNT=" + count.string()};
    if (!fault.exchange) limits.environment.emplace_back("GGQ_FAULT_NO_EXCHANGE=1");
    return run_binary("train", args, limits);
}

// Calls of a whole run.
int64_t calls_of(const Workplace& place, const Strings& args, const fs::path& out) {
    REQUIRE(run_with({"0", 0}, out, place / "count", args).code == 0);
    const int64_t n_calls = std::atoll(content_of(place / "count").c_str());
    REQUIRE(n_calls > 100);
    return n_calls;
}

bool can_preload() {
#ifdef __SANITIZE_ADDRESS__
    skipped("a preloaded library does not go with AddressSanitizer");
    return false;
#else
    return true;
#endif
}

void check_no_leftovers(const fs::path& folder) {
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        CHECK(entry.path().filename().string().find(".tmp-") == std::string::npos);
}

// What a person does after a run has died: --resume, and if that says so, --overwrite.
void go_on(const Workplace& place, const fs::path& out, const Strings& more, const std::string& expected) {
    Strings args = arguments(place, out, more);
    args.emplace_back("--resume");
    const ProgramRun run = run_binary("train", args);
    CAPTURE(run.err);
    if (run.code != 0) {
        CHECK(run.code == 1);
        const std::string reason = last_line(run.err);
        CHECK((reason.find("--overwrite") != std::string::npos ||
               reason.find("start without --resume") != std::string::npos ||
               reason.find("this run is not the one that was saved") != std::string::npos));
        args.back() = "--overwrite";
        CHECK(run_binary("train", args).code == 0);
    }
    CHECK(content_of(out / kAdapter) == expected);
    check_no_leftovers(out);
}

// `step` calls lie between two deaths.
void kill_a_new_run(int64_t step, const Fault& kind) {
    const Workplace place;
    const int64_t n_calls = calls_of(place, arguments(place, place / "whole"), place / "whole");
    const std::string expected = content_of(place / "whole" / kAdapter);
    for (int64_t at = 1 + (step > 1 ? step / 2 : 0); at <= n_calls; at += step) {
        CAPTURE(at);
        Fault fault = kind;
        fault.at = at;
        const ProgramRun run = run_with(fault, place.out, place / "count", arguments(place, place.out));
        const bool killed = kind.kind == "kill" || kind.kind == "half";
        CAPTURE(run.err);
        if (killed) CHECK(run.code == 128 + SIGKILL);
        else CHECK((run.code == 0 || run.err.find("train: cannot ") != std::string::npos));
        if (fs::exists(place.out / "adapter_config.json")) CHECK(content_of(place.out / kAdapter) == expected);
        go_on(place, place.out, {}, expected);
        fs::remove_all(place.out);
    }
}

// An adapter of a finished run is overwritten by that of another: at no time do parts of both make one that loads.
void kill_an_overwriting_run(int64_t step, const Fault& kind) {
    const Workplace place;
    const Strings other = {"--lora-alpha", "64", "--lr", "1e-2", "--seed", "7"};
    REQUIRE(run_binary("train", arguments(place, place / "old")).code == 0);
    const std::string old = content_of(place / "old" / kAdapter);
    fs::copy(place / "old", place / "whole", fs::copy_options::recursive);
    Strings overwriting = other;
    overwriting.emplace_back("--overwrite");
    const int64_t n_calls = calls_of(place, arguments(place, place / "whole", overwriting), place / "whole");
    const std::string expected = content_of(place / "whole" / kAdapter);
    REQUIRE(old != expected);
    for (int64_t at = 1 + (step > 1 ? step / 2 : 0); at <= n_calls; at += step) {
        CAPTURE(at);
        Fault fault = kind;
        fault.at = at;
        fs::copy(place / "old", place.out, fs::copy_options::recursive);
        CHECK(run_with(fault, place.out, place / "count", arguments(place, place.out, overwriting)).code ==
              128 + SIGKILL);
        const std::string refusal = error_of([&] { read_adapter(place.out); });
        if (refusal == "no error") {
            const double alpha = read_adapter(place.out).config.alpha;
            CHECK(content_of(place.out / kAdapter) == (alpha == 64 ? expected : old));
        } else {
            check_contains(refusal, place.out.string());
        }
        go_on(place, place.out, other, expected);
        fs::remove_all(place.out);
    }
}

}  // namespace

TEST_CASE("killed: a new run goes on to the same bits from wherever it died") {
    if (can_preload()) kill_a_new_run(29, {"kill"});
}

TEST_CASE("killed: a run whose write was half done goes on to the same bits") {
    if (can_preload()) kill_a_new_run(83, {"half"});
}

TEST_CASE("killed: a disk that fails once does not end in a lie or a mixture") {
    if (can_preload()) kill_a_new_run(61, {std::to_string(ENOSPC)});
}

TEST_CASE("killed: an adapter that is overwritten is never a mixture") {
    if (can_preload()) kill_an_overwriting_run(43, {"kill"});
}

TEST_CASE("slow: killed: at every call") {
    if (!can_preload()) return;
    for (const char* kind : {"kill", "half", "28", "5"}) kill_a_new_run(1, {kind});
    kill_an_overwriting_run(1, {"kill"});
    kill_an_overwriting_run(1, {"kill", 0, false});
}

}  // namespace ggq::test
