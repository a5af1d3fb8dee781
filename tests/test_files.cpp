// Files that appear whole or not at all, the hash.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <vector>

#include "ggq/io/atomic_file.h"
#include "ggq/io/hash.h"
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

TEST_CASE("a full disk is said in words" * doctest::skip(!fs::exists("/dev/full"))) {
    // The device itself fails every write; a file aside of it cannot be made, so the link stands where that would be.
    const TempDir dir;
    const fs::path aside = (dir / "a").string() + ".tmp-" + std::to_string(getpid());
    fs::create_symlink("/dev/full", aside);
    const std::string error = error_of([&] { write_file(dir / "a", "text"); });
    CHECK(error.find("cannot write " + (dir / "a").string() + ": No space left on device; free some space") == 0);
    CHECK(n_entries(dir.path()) == 0);
}

TEST_CASE("a folder that cannot be written to is named") {
    const TempDir dir;
    write_file(dir / "file", "");
    CHECK(error_of([&] { write_file(dir / "none" / "a", "text"); }) ==
          "cannot write " + (dir / "none" / "a").string() + ": No such file or directory");
    CHECK(error_of([&] { OutputFolder(dir / "file" / "out"); }) ==
          "cannot make the folder " + (dir / "file" / "out").string() + ": Not a directory");
    CHECK(error_of([&] {
              AtomicFolder(dir / "file" / "out", IfFolderExists::replace);
          }).find("cannot make the folder ") == 0);
}

TEST_CASE("an output folder with content is refused unless asked for") {
    const TempDir dir;
    check_output_folder(dir / "a" / "b", false);
    CHECK(n_entries(dir.path()) == 0);
    fs::create_directories(dir / "a" / "b");
    check_output_folder(dir / "a" / "b", false);
    write_file(dir / "a" / "b" / "file", "kept");
    CHECK(error_of([&] { check_output_folder(dir / "a" / "b", false); }) ==
          "the output folder " + (dir / "a" / "b").string() +
              " is not empty; choose another one or allow it with --overwrite");
    check_output_folder(dir / "a" / "b", true);
    CHECK(content_of(dir / "a" / "b" / "file") == "kept");
    CHECK(error_of([&] { check_output_folder(dir / "a" / "b" / "file", true); }).find(" is a file; choose") !=
          std::string::npos);
}

TEST_CASE("an output folder in which nothing was written goes again, and no folder that was there before") {
    const TempDir dir;
    fs::create_directory(dir / "before");
    { const OutputFolder folder(dir / "before"); }
    { const OutputFolder folder(dir / "before" / "a" / "b"); }
    CHECK(fs::exists(dir / "before"));
    CHECK(n_entries(dir / "before") == 0);
    {
        const OutputFolder folder(dir / "a" / "b");
        CHECK(fs::exists(dir / "a" / "b"));
        write_file(dir / "a" / "file", "kept");
    }
    CHECK(n_entries(dir / "a") == 1);
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
