// log.jsonl: the keys that other programs read, going on after a resume, and broken files.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "ggq/io/text_file.h"
#include "models/train/log.h"
#include "tests/file_checks.h"
#include "tests/temp_dir.h"

using namespace ggq;
using Json = nlohmann::ordered_json;

namespace {

TrainEntry train_entry(int64_t step) {
    return {
        .loss = 2.5, .grad_norm = 0.5, .learning_rate = 1e-4, .epoch = 0.25, .step = step, .num_tokens = 100 * step};
}

EvalEntry eval_entry(int64_t step) { return {2.25, 1.5, 8, 2, 0.25, step}; }

void write_run(const std::filesystem::path& path) {
    TrainLog log = TrainLog::start(path, {{"seed", 42}});
    for (const int64_t step : {10, 20, 30}) log.add(train_entry(step));
    log.add(eval_entry(30));
    log.add(EndEntry{.seconds = 12, .step = 30});
}

std::vector<Json> first_entries(const std::filesystem::path& path, size_t count) {
    std::vector<Json> entries = read_log(path).history;
    entries.resize(std::min(count, entries.size()));
    return entries;
}

}  // namespace

TEST_CASE("log: bytes of pages stand in an entry where there were any") {
    const test::TempDir folder;
    TrainLog log = TrainLog::start(folder / "log.jsonl", {});
    TrainEntry entry = train_entry(1);
    log.add(entry);
    entry.traffic = {.bytes_in = 4096, .bytes_out = 0, .stalls = 3, .stalled_seconds = 0.5};
    log.add(entry);
    CHECK_FALSE(log.history()[0].contains("paged_in_bytes"));
    CHECK(log.history()[1].at("paged_in_bytes") == 4096);
    CHECK(log.history()[1].at("paged_out_bytes") == 0);
    CHECK(log.history()[1].at("page_stalls") == 3);
    CHECK(log.history()[1].at("page_stall_seconds") == 0.5);
}

TEST_CASE("log: the end has the share of the ceiling where that is known") {
    const test::TempDir folder;
    TrainLog log = TrainLog::start(folder / "log.jsonl", {});
    log.add(EndEntry{.seconds = 1, .flops = 3e12, .ceiling = 4e12});
    CHECK(log.history()[0].at("tflops") == 3);
    CHECK(log.history()[0].at("ceiling_tflops") == 4);
    CHECK(log.history()[0].at("share_of_ceiling") == 0.75);
}

TEST_CASE("log: lines have transformers' keys in its order") {
    const test::TempDir folder;
    TrainLog log = TrainLog::start(folder / "log.jsonl", {{"seed", 42}});
    log.add(train_entry(10));
    log.add(eval_entry(10));
    log.add(EndEntry{12, 80, 2.5, 3.25, 1e9, 1, 30});
    CHECK(read_text_file(folder / "log.jsonl") ==
          R"({"run":{"seed":42}}
{"loss":2.5,"grad_norm":0.5,"learning_rate":0.0001,"epoch":0.25,"step":10,"num_tokens":1000}
{"eval_loss":2.25,"eval_runtime":1.5,"eval_samples_per_second":8.0,"eval_steps_per_second":2.0,"epoch":0.25,"step":10}
{"train_runtime":12.0,"train_samples_per_second":80.0,"train_steps_per_second":2.5,"total_flos":1000000000.0,"train_loss":3.25,"epoch":1.0,"step":30}
)");
}

TEST_CASE("log: what is read back is what was added") {
    const test::TempDir folder;
    write_run(folder / "log.jsonl");
    const LogContent content = read_log(folder / "log.jsonl");
    CHECK(content.runs.back()["seed"] == 42);
    REQUIRE(content.history.size() == 5);
    CHECK(content.history[1]["step"] == 20);
    CHECK(content.history[3]["eval_loss"] == 2.25);
}

TEST_CASE("log: a start replaces the old log") {
    const test::TempDir folder;
    write_run(folder / "log.jsonl");
    const TrainLog log = TrainLog::start(folder / "log.jsonl", {{"seed", 7}});
    CHECK(log.history().empty());
    CHECK(read_log(folder / "log.jsonl").runs.back()["seed"] == 7);
    CHECK(read_log(folder / "log.jsonl").history.empty());
}

TEST_CASE("log: a resume cuts what came after the checkpoint") {
    const test::TempDir folder;
    const std::filesystem::path path = folder / "log.jsonl";
    write_run(path);
    TrainLog log = TrainLog::resume(path, {{"seed", 43}}, first_entries(path, 2));
    CHECK(log.history().size() == 2);
    log.add(train_entry(30));
    CHECK(log.history().size() == 3);
    const LogContent content = read_log(path);
    CHECK(content.runs.back()["seed"] == 43);
    REQUIRE(content.history.size() == 3);
    CHECK(content.history[2]["step"] == 30);
    CHECK(read_text_file(path).starts_with("{\"run\":{\"seed\":42}}\n"));
}

TEST_CASE("log: a resume at the last step keeps its entries but not the end") {
    const test::TempDir folder;
    write_run(folder / "log.jsonl");
    const auto all = first_entries(folder / "log.jsonl", 5);
    REQUIRE(all.size() == 5);
    CHECK(TrainLog::resume(folder / "log.jsonl", {}, all).history().size() == 4);
    CHECK(read_log(folder / "log.jsonl").history.size() == 4);
    CHECK(TrainLog::resume(folder / "absent.jsonl", {{"seed", 1}}, all).history().size() == 4);
    CHECK(read_log(folder / "absent.jsonl").runs.back()["seed"] == 1);
    CHECK(read_log(folder / "absent.jsonl").history.size() == 4);
}

TEST_CASE("log: a resume replaces the log of a run that is not the checkpoint's") {
    const test::TempDir folder;
    const std::filesystem::path path = folder / "log.jsonl";
    write_run(path);
    const auto entries = first_entries(path, 2);
    {
        TrainLog other = TrainLog::start(path, {{"seed", 7}});
        other.add(train_entry(5));
    }
    CHECK(TrainLog::resume(path, {{"seed", 42}}, entries).history() == entries);
    const LogContent content = read_log(path);
    CHECK(content.runs.back()["seed"] == 42);
    CHECK(content.history == entries);
    CHECK(read_text_file(path).find("\"seed\":7") == std::string::npos);
}

TEST_CASE("log: a line cut short by a crash is left out, any other broken line refused") {
    const test::TempDir folder;
    const std::filesystem::path path = folder / "log.jsonl";
    write_file(path, "{\"run\":{}}\n{\"loss\":1.0,\"step\":1}\n{\"loss\":0.9,\"st");
    CHECK(read_log(path).history.size() == 1);
    {
        TrainLog log = TrainLog::resume(path, {}, first_entries(path, 1));
        log.add(train_entry(2));
    }
    CHECK(read_log(path).history.size() == 2);
    write_file(path, "{\"run\":{}}\n[1]\n{\"loss\":0.9,\"step\":2}\n");
    CHECK_THROWS_WITH_AS(read_log(path),
                         (path.string() + ": line 2 is no JSON object; mend or remove the line").c_str(), Error);
    write_file(path, "{\"run\":{}}\n{\"loss\":1.0,\"step\":1}\n{\"loss\":\n");
    const std::string message = test::error_of([&] { read_log(path); });
    CHECK(message.starts_with(path.string() + ": broken JSON on line 3: "));
    CHECK(message.ends_with("; mend or remove the line"));
}

TEST_CASE("log: numbers that JSON cannot hold, and texts that are not UTF-8") {
    const test::TempDir folder;
    TrainLog log = TrainLog::start(folder / "log.jsonl", {{"data", "caf\xe9.json"}});
    TrainEntry entry = train_entry(1);
    entry.loss = std::nan("");
    log.add(entry);
    const LogContent content = read_log(folder / "log.jsonl");
    CHECK(content.runs.back()["data"] == "caf\xef\xbf\xbd.json");
    CHECK(content.history[0]["loss"].is_null());
}

TEST_CASE("log: an evaluation that was not finite is found again, also by a resumed run") {
    const test::TempDir folder;
    TrainLog log = TrainLog::start(folder / "log.jsonl", {});
    log.add(EvalEntry{.loss = std::nan(""), .step = 2});
    const TrainLog resumed = TrainLog::resume(
        folder / "log.jsonl", {}, {{{"eval_loss", nullptr}, {"step", 2}}, {{"eval_loss", 1.5}, {"step", 4}}});
    for (const TrainLog* each : {static_cast<const TrainLog*>(&log), &resumed}) {
        CHECK(std::isnan(each->eval_loss_of(2).value_or(0)));
        CHECK_FALSE(each->eval_loss_of(3));
    }
    CHECK(resumed.eval_loss_of(4) == 1.5);
}

TEST_CASE("log: a path that cannot be written or read is named") {
    const test::TempDir folder;
    CHECK_THROWS_AS(TrainLog::start(folder / "absent" / "log.jsonl", {}), Error);
    CHECK_THROWS_AS(read_log(folder / "absent.jsonl"), Error);
}

TEST_CASE("log: a line that does not fit on the disk is an error") {
    const test::TempDir folder;
    TrainLog log = TrainLog::start(folder / "log.jsonl", {});
    rlimit old{};
    getrlimit(RLIMIT_FSIZE, &old);
    const rlimit none_left{std::filesystem::file_size(folder / "log.jsonl"), old.rlim_max};
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &none_left);
    const std::string message = test::error_of([&] { log.add(train_entry(1)); });
    setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, old_handler);
    CHECK(message == "cannot write " + (folder / "log.jsonl").string() + ": File too large");
    CHECK(log.history().empty());
}
