// Files that appear whole or not at all, the hash.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "ggq/io/atomic_file.h"
#include "ggq/io/atomic_folder.h"
#include "ggq/io/file_record.h"
#include "ggq/io/hash.h"
#include "ggq/io/write_aside.h"
#include "tests/file_checks.h"
#include "tests/temp_dir.h"

namespace fs = std::filesystem;
using namespace ggq;
using ggq::test::content_of;
using ggq::test::error_of;
using ggq::test::TempDir;

namespace {

size_t n_entries(const fs::path& folder) {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

// Writes beyond `n_bytes` of a file fail inside the scope, as they do on a full disk.
class FileSizeLimit {
public:
    explicit FileSizeLimit(rlim_t n_bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
        getrlimit(RLIMIT_FSIZE, &old_);
        const rlimit limit{n_bytes, old_.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() {
        setrlimit(RLIMIT_FSIZE, &old_);
        std::signal(SIGXFSZ, old_handler_);
    }

private:
    rlimit old_{};
    void (*old_handler_)(int);
};

}  // namespace

TEST_CASE("an atomic file appears with commit() only, and replaces the old one") {
    const TempDir dir;
    {
        AtomicFile file(dir / "a");
        file.write("lost");
        CHECK(!fs::exists(dir / "a"));
    }
    CHECK(n_entries(dir.path()) == 0);
    write_file(dir / "a", "old");
    write_file(dir / "a", "new");
    CHECK(content_of(dir / "a") == "new");
    CHECK(n_entries(dir.path()) == 1);
}

TEST_CASE("a write that fails half way leaves the old file and nothing beside it") {
    const TempDir dir;
    write_file(dir / "a", "old");
    const FileSizeLimit limit(1000);
    const std::string error = error_of([&] { write_file(dir / "a", std::string(5000, 'x')); });
    CHECK(error == "cannot write " + (dir / "a").string() + ": File too large");
    CHECK(content_of(dir / "a") == "old");
    CHECK(n_entries(dir.path()) == 1);
}

TEST_CASE("a folder that cannot be written to is named") {
    const TempDir dir;
    write_file(dir / "file", "");
    CHECK(error_of([&] { write_file(dir / "none" / "a", "text"); }) ==
          "cannot write " + (dir / "none" / "a").string() + ": No such file or directory");
    CHECK(error_of([&] {
              AtomicFolder(dir / "file" / "out", IfFolderExists::replace);
          }).find("cannot make the folder ") == 0);
}

TEST_CASE("an atomic folder that is not committed leaves nothing") {
    const TempDir dir;
    write_file(dir / "old", "");
    for (const IfFolderExists policy : {IfFolderExists::replace, IfFolderExists::merge}) {
        AtomicFolder folder(dir / "out", policy);
        write_file(folder.staging() / "a", "lost");
    }
    CHECK((!fs::exists(dir / "out") || n_entries(dir / "out") == 0));
    fs::remove(dir / "out");
    CHECK(n_entries(dir.path()) == 1);
}

TEST_CASE("an atomic folder replaces the old one whole") {
    const TempDir dir;
    for (const char* name : {"first", "second"}) {
        AtomicFolder folder(dir / "out/", IfFolderExists::replace);
        fs::create_directory(folder.staging() / "sub");
        std::ofstream(folder.staging() / "sub" / name) << name;
        folder.commit();
        CHECK(content_of(dir / "out" / "sub" / name) == name);
        CHECK(n_entries(dir / "out" / "sub") == 1);
        CHECK(n_entries(dir.path()) == 1);
    }
}

TEST_CASE("merged files replace those of the same name and leave the rest") {
    const TempDir dir;
    fs::create_directory(dir / "out");
    write_file(dir / "out" / "log", "kept");
    write_file(dir / "out" / "a", "old");
    AtomicFolder folder(dir / "out", IfFolderExists::merge);
    write_file(folder.staging() / "a", "new");
    CHECK(content_of(dir / "out" / "a") == "old");
    folder.commit();
    CHECK(content_of(dir / "out" / "a") == "new");
    CHECK(content_of(dir / "out" / "log") == "kept");
    CHECK(n_entries(dir / "out") == 2);
    CHECK(n_entries(dir.path()) == 1);
}

TEST_CASE("the key file of merged ones is gone before the first of them is there") {
    const TempDir dir;
    for (const char* name : {"config", "tensors"}) write_file(dir / name, "old");
    AtomicFolder folder(dir.path(), IfFolderExists::merge, "config");
    for (const char* name : {"config", "tensors"}) write_file(folder.staging() / name, "new");
    fs::create_directory(dir / "z-in-the-way");
    write_file(folder.staging() / "z-in-the-way", "new");
    CHECK(error_of([&] { folder.commit(); }) ==
          "cannot write " + (dir / "z-in-the-way").string() + ": a folder of that name is there");
    CHECK(content_of(dir / "config") == "old");
    CHECK(content_of(dir / "tensors") == "old");
    fs::remove(dir / "z-in-the-way");
    folder.commit();
    CHECK(content_of(dir / "config") == "new");
}

TEST_CASE("what a process of the same number left aside is neither used nor followed") {
    const TempDir dir;
    const std::string end = ".tmp-" + std::to_string(getpid());
    write_file(dir / "precious", "kept");
    fs::create_symlink(dir / "precious", dir / ("a" + end));
    write_file(dir / "a", "new");
    CHECK(content_of(dir / "a") == "new");
    CHECK(content_of(dir / "precious") == "kept");
    fs::create_directory(dir / ("out" + end));
    write_file(dir / ("out" + end) / "stale", "");
    AtomicFolder folder(dir / "out", IfFolderExists::replace);
    write_file(folder.staging() / "fresh", "");
    folder.commit();
    CHECK(n_entries(dir / "out") == 1);
    CHECK(fs::exists(dir / "out" / "fresh"));
}

TEST_CASE("names aside are known again") {
    CHECK(aside_name("checkpoint-2.tmp-16482", "checkpoint-2") == AsideName::written);
    CHECK(aside_name("log.jsonl.tmp-1-3", "log.jsonl") == AsideName::written);
    CHECK(aside_name("checkpoint-2.tmp-1-old", "checkpoint-2") == AsideName::removed);
    CHECK(aside_name("checkpoint-2.tmp-1-3-old", "checkpoint-2") == AsideName::removed);
    for (const char* name : {"checkpoint-2", "checkpoint-2.tmp-", "checkpoint-2.tmp-x", "checkpoint-2.tmp-1-",
                             "checkpoint-2.tmp-1-new", "checkpoint-20.tmp-1", "a.checkpoint-2.tmp-1"})
        CHECK(aside_name(name, "checkpoint-2") == AsideName::none);
}

TEST_CASE("a folder is removed whole") {
    const TempDir dir;
    fs::create_directories(dir / "a" / "b");
    fs::create_directories(dir / ("a.tmp-" + std::to_string(getpid()) + "-old"));
    remove_folder(dir / "a");
    CHECK(n_entries(dir.path()) == 1);
    CHECK(error_of([&] { remove_folder(dir / "none"); }) ==
          "cannot write " + (dir / "none").string() + ": No such file or directory");
}

TEST_CASE("a record of files notices what is missing, short or changed") {
    const TempDir dir;
    write_file(dir / "a", "some text");
    write_file(dir / "b", "other text");
    const FileRecord record = file_record(to_json(record_files(dir.path())), "record");
    CHECK(record == record_files(dir.path(), {"a", "b"}));
    check_files(dir.path(), record, "record");
    write_file(dir / "b", "Other text");
    CHECK_FALSE(incomplete_file(dir.path(), record));
    const std::string error = error_of([&] { check_files(dir.path(), record, "record"); });
    CHECK(error.find((dir / "b").string() + " is not what record records (hash ") == 0);
    write_file(dir / "b", "other");
    CHECK(incomplete_file(dir.path(), record) == "b has 5 bytes of 10");
    fs::remove(dir / "a");
    CHECK(error_of([&] { check_files(dir.path(), record, "record"); }) ==
          (dir / "a").string() + " is missing, which record records");
    write_file(dir / "a", "some");
    CHECK(error_of([&] { check_files(dir.path(), record, "record"); }) ==
          (dir / "a").string() +
              " is not what record records (4 bytes, recorded are 9): it is damaged, was changed or belongs to another "
              "run; if the change was meant, take \"files\" out of record");
    for (const char* text : {R"([])", R"({"a": 1})", R"({"a": {"bytes": -1, "xxh64": ""}})",
                             R"({"../a": {"bytes": 1, "xxh64": ""}})", R"({"a": {"bytes": 1}})"})
        CHECK(error_of([&] { file_record(nlohmann::ordered_json::parse(text), "record"); }).find("record: files") == 0);
}

TEST_CASE("the hash is XXH64") {
    // Published values of XXH64 with seed 0.
    const std::pair<const char*, uint64_t> cases[] = {
        {"", 0xef46db3751d8e999},
        {"a", 0xd24ec4f1a98c6e5b},
        {"abc", 0x44bc2cf5ad770999},
        {"Nobody inspects the spammish repetition", 0xfbcea83c8a378bf1},
    };
    for (const auto& [text, expected] : cases) {
        CAPTURE(text);
        Hash64 hash;
        hash.update(text);
        CHECK(hash.value() == expected);
    }
    CHECK(Hash64().hex() == "ef46db3751d8e999");
}

TEST_CASE("the hash does not depend on how the bytes arrive") {
    std::string text;
    for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 7 % 251);
    Hash64 whole;
    whole.update(text);
    for (const size_t step : {1, 7, 31, 32, 33, 100}) {
        CAPTURE(step);
        Hash64 pieces;
        for (size_t at = 0; at < text.size(); at += step) pieces.update(std::string_view(text).substr(at, step));
        CHECK(pieces.value() == whole.value());
    }
    const TempDir dir;
    write_file(dir / "a", text.substr(0, 333));
    write_file(dir / "b", text.substr(333));
    CHECK(hash_files({dir / "a", dir / "b"}) == whole.hex());
    CHECK(hash_files({dir / "b", dir / "a"}) != whole.hex());
    CHECK(error_of([&] { hash_files({dir / "none"}); }) ==
          "cannot open " + (dir / "none").string() + ": No such file or directory");
}
