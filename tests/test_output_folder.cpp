// The folder that a run writes into: what is refused, what is left when nothing was written, and the lock.
#include <doctest/doctest.h>

#include <filesystem>
#include <optional>

#include "ggq/io/atomic_file.h"
#include "ggq/io/output_folder.h"
#include "tests/file_checks.h"
#include "tests/temp_dir.h"

namespace ggq::test {

namespace {

namespace fs = std::filesystem;

std::string refusal(const fs::path& folder, bool overwrite = false) {
    return error_of([&] { OutputFolder(folder, overwrite); });
}

}  // namespace

TEST_CASE("output folder: one that cannot be made is named") {
    const TempDir dir;
    write_file(dir / "file", "");
    CHECK(refusal(dir / "file" / "out") ==
          "cannot make the folder " + (dir / "file" / "out").string() + ": Not a directory");
    CHECK(refusal(dir / "file") == "the output folder " + (dir / "file").string() + " is a file; choose another name");
}

TEST_CASE("output folder: content is refused unless asked for, and stays") {
    const TempDir dir;
    fs::create_directories(dir / "a" / "b");
    CHECK(refusal(dir / "a" / "b") == "no error");
    write_file(dir / "a" / "b" / "file", "kept");
    CHECK(refusal(dir / "a" / "b") == "the output folder " + (dir / "a" / "b").string() +
                                          " is not empty; choose another one or allow it with `overwrite`");
    CHECK(refusal(dir / "a" / "b", true) == "no error");
    CHECK(content_of(dir / "a" / "b" / "file") == "kept");
}

TEST_CASE("output folder: where nothing was written it goes again, and no folder that was there before") {
    const TempDir dir;
    fs::create_directory(dir / "before");
    { const OutputFolder folder(dir / "before", false); }
    { const OutputFolder folder(dir / "before" / "a" / "b", false); }
    CHECK(fs::is_empty(dir / "before"));
    {
        const OutputFolder folder(dir / "a" / "b", false);
        CHECK(fs::exists(dir / "a" / "b"));
        write_file(dir / "a" / "file", "kept");
    }
    CHECK_FALSE(fs::exists(dir / "a" / "b"));
    CHECK(fs::exists(dir / "a" / "file"));
}

TEST_CASE("output folder: a second run is refused, and takes nothing away from the first") {
    const TempDir dir;
    std::optional<OutputFolder> first(std::in_place, dir / "out", false);
    for (const bool overwrite : {false, true})
        CHECK(refusal(dir / "out", overwrite) == "another run is writing into the folder " + (dir / "out").string() +
                                                     "; wait for its end or choose another one");
    CHECK(fs::is_empty(dir / "out"));  // and there
    write_file(dir / "out" / "file", "");
    first.reset();
    CHECK(refusal(dir / "out", true) == "no error");
}

TEST_CASE("output folder: the lock is on the folder of that name, not on one that was removed") {
    const TempDir dir;
    const OutputFolder first(dir / "out", false);
    fs::remove(dir / "out");
    const OutputFolder second(dir / "out", false);
    CHECK(fs::is_empty(dir / "out"));
}

}  // namespace ggq::test
