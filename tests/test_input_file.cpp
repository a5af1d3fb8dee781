// Files that are read: links, folders, pipes, devices, what cannot be looked at, and files that another program cuts.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "ggq/io/atomic_file.h"
#include "ggq/io/hash.h"
#include "ggq/io/input_file.h"
#include "ggq/io/safetensors.h"
#include "ggq/io/text_file.h"
#include "models/adapter_files.h"
#include "models/model.h"
#include "tests/file_checks.h"
#include "tests/training.h"

namespace fs = std::filesystem;
using namespace ggq;
using ggq::test::check_contains;
using ggq::test::content_of;
using ggq::test::error_of;
using ggq::test::TempDir;
using ggq::test::Workplace;

namespace {

// Every text that is read beside the tensors of a model, those that need not be there last.
constexpr const char* kTexts[] = {"config.json", "tokenizer.json", "generation_config.json", "tokenizer_config.json",
                                  "special_tokens_map.json"};

std::string refusal_of(const fs::path& model) {
    return error_of([&] { open_model(model); });
}

// What opening a model says when `put` has put something else in the place of each of its texts.
void check_each_text(const std::function<void(const fs::path& file)>& put, const std::string& expected) {
    for (const char* text : kTexts) {
        CAPTURE(text);
        const Workplace place;
        const fs::path model = place.copy_of_model();
        fs::remove(model / text);
        put(model / text);
        const std::string said = refusal_of(model);
        check_contains(said, (model / text).string());
        check_contains(said, expected);
    }
}

// Root may read everything: inside of the scope it is somebody else, to whom the temporary folder is open.
class WithoutRights {
public:
    WithoutRights() : user_(geteuid()) {
        if (user_ == 0) REQUIRE(seteuid(kNobody) == 0);
    }
    ~WithoutRights() {
        if (user_ == 0) (void)!seteuid(user_);
    }

private:
    static constexpr uid_t kNobody = 65534;
    uid_t user_;
};

}  // namespace

TEST_CASE("an input file is read whole and in parts") {
    const TempDir dir;
    write_file(dir / "a", "some text");
    const InputFile file(dir / "a");
    CHECK(file.n_bytes() == 9);
    CHECK(file.read_all() == "some text");
    std::vector<std::byte> part(4);
    file.read(5, part);
    CHECK(as_text(part) == "text");
    write_file(dir / "empty", "");
    CHECK(InputFile(dir / "empty").read_all().empty());
    const std::string large(3'000'000, 'x');
    write_file(dir / "large", large);
    CHECK(InputFile(dir / "large").read_all() == large);
}

TEST_CASE("what is no file is refused at once") {
    const TempDir dir;
    CHECK(error_of([&] { InputFile(dir / "none"); }) ==
          "cannot open " + (dir / "none").string() + ": No such file or directory");
    CHECK(error_of([&] { InputFile(dir.path()); }) == dir.path().string() + ": expected a file, got a folder");
    CHECK(error_of([&] { InputFile("/dev/zero"); }) == "/dev/zero: expected a file, got a device");
    CHECK(error_of([&] { InputFile("/dev/zero", InputFile::Takes::pipes_too); }) ==
          "/dev/zero: expected a file, got a device");
    REQUIRE(mkfifo((dir / "pipe").c_str(), 0600) == 0);
    for (const auto takes : {InputFile::Takes::files, InputFile::Takes::pipes_too})  // nobody writes into it
        CHECK(error_of([&] { InputFile(dir / "pipe", takes); }) ==
              (dir / "pipe").string() + ": expected a file, got a pipe");
}

TEST_CASE("a file that another program cuts is an error, not the end of the process") {
    const TempDir dir;
    const std::vector<float> values(100'000, 1.0f);
    write_safetensors(dir / "a", {{"w", {values.data(), DType::f32, {100'000}}}});
    const SafetensorsReader reader(dir / "a");
    fs::resize_file(dir / "a", 8192);
    std::vector<std::byte> bytes;
    check_contains(error_of([&] { reader.read("w", bytes); }),
                   (dir / "a").string() +
                       ": the file ends at byte 8192 now, it had 400104 when it was opened; another program cut it");
}

TEST_CASE("every text of a model is a file, or refused by name") {
    check_each_text([](const fs::path& file) { fs::create_directory(file); }, ": expected a file, got a folder");
    check_each_text([](const fs::path& file) { REQUIRE(mkfifo(file.c_str(), 0600) == 0); },
                    ": expected a file, got a pipe");
    check_each_text([](const fs::path& file) { fs::create_symlink("nowhere", file); },
                    " is a link to a file that is not there");
    check_each_text([](const fs::path& file) { fs::create_symlink(file.filename(), file); },
                    ": Too many levels of symbolic links");
    check_each_text([](const fs::path& file) { fs::create_symlink("/etc/passwd", file); },
                    " is a link out of its folder, to /etc/passwd; put the file itself there");
    check_each_text([](const fs::path& file) { fs::create_symlink("/dev/zero", file); },
                    " is a link out of its folder");
    check_each_text([](const fs::path& file) { write_file(file, ""); }, "broken JSON on line 1");
    check_each_text([](const fs::path& file) { write_file(file, "version https://git-lfs.github.com/spec/v1\n"); },
                    " is a Git LFS pointer");
}

TEST_CASE("a model as Hugging Face's cache lays it out is read, and its texts are copied as files") {
    const Workplace place;
    const fs::path cache = place / "models--a--b", snapshot = cache / "snapshots" / "1234";
    fs::create_directories(snapshot);
    fs::rename(place.copy_of_model(), cache / "blobs");
    for (const auto& entry : fs::directory_iterator(cache / "blobs"))
        fs::create_symlink(fs::path("../../blobs") / entry.path().filename(), snapshot / entry.path().filename());
    CHECK(refusal_of(snapshot) == "no error");
    fs::create_symlink(snapshot, place / "link");
    CHECK(refusal_of(place / "link") == "no error");
    fs::create_directory(place / "copy");
    copy_tokenizer_files(snapshot, place / "copy");
    CHECK(fs::is_regular_file(fs::symlink_status(place / "copy" / "tokenizer.json")));
    CHECK(content_of(place / "copy" / "tokenizer.json") == content_of(place.model / "tokenizer.json"));
}

TEST_CASE("links within a folder are taken, and tensors may lie anywhere") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    fs::create_directory(model / "files");
    fs::rename(model / "config.json", model / "files" / "config");
    fs::create_symlink("files/config", model / "config.json");
    fs::rename(model / "model.safetensors", place / "elsewhere");
    fs::create_symlink(place / "elsewhere", model / "model.safetensors");
    CHECK(refusal_of(model) == "no error");
    fs::remove(model / "model.safetensors");
    REQUIRE(mkfifo((model / "model.safetensors").c_str(), 0600) == 0);
    check_contains(refusal_of(model), "model.safetensors: expected a file, got a pipe");
}

TEST_CASE("no text is copied from outside of a model's folder") {
    const TempDir dir;
    fs::create_directory(dir / "model");
    fs::create_directory(dir / "out");
    write_file(dir / "secret", "secret");
    fs::create_symlink("../secret", dir / "model" / "chat_template.jinja");
    check_contains(error_of([&] { copy_tokenizer_files(dir / "model", dir / "out"); }),
                   "chat_template.jinja is a link out of its folder, to " + (dir / "secret").string());
    CHECK(fs::is_empty(dir / "out"));
}

TEST_CASE("a folder or file that may not be read is one sentence") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    fs::permissions(model.parent_path(), fs::perms::all);
    fs::permissions(model / "config.json", fs::perms::none);
    {
        const WithoutRights scope;
        check_contains(refusal_of(model), "cannot open " + (model / "config.json").string() + ": Permission denied");
    }
    fs::permissions(model, fs::perms::none);
    const WithoutRights scope;
    CHECK(refusal_of(model) == "cannot look at " + (model / "config.json").string() + ": Permission denied");
    CHECK(error_of([&] { read_adapter(model); }) ==
          "cannot look at " + (model / "adapter_model.safetensors").string() + ": Permission denied");
}

TEST_CASE("a path that cannot be looked at is one sentence") {
    const TempDir dir;
    const std::string long_name(300, 'a');
    CHECK(error_of([&] { open_model(dir / long_name); }) ==
          "cannot look at " + (dir / long_name).string() + ": File name too long");
    CHECK(error_of([&] { read_adapter(dir / long_name); }) ==
          "cannot look at " + (dir / long_name).string() + ": File name too long");
    fs::create_symlink("loop", dir / "loop");
    CHECK(error_of([&] { open_model(dir / "loop"); }) ==
          "cannot look at " + (dir / "loop").string() + ": Too many levels of symbolic links");
    write_file(dir / "file", "");
    check_contains(error_of([&] { open_model(dir / "file" / "model"); }), "expected a model folder");
}

TEST_CASE("a side file that could not be copied at the end ends a run before it begins") {
    const Workplace place;
    const fs::path model = place.copy_of_model();
    fs::create_symlink("/etc/hostname", model / "chat_template.jinja");
    TrainOptions options = place.options(1);
    options.base.model = model;
    check_contains(error_of([&] { ggq::test::train(options); }), "chat_template.jinja is a link out of its folder");
    CHECK_FALSE(fs::exists(place.out));
}
