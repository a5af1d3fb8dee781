// Reader and writer of safetensors files, whole and in shards, on good, broken and random input.
#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <vector>

#include "ggq/io/atomic_file.h"
#include "ggq/io/safetensors.h"
#include "ggq/io/sharded_safetensors.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/temp_dir.h"

namespace fs = std::filesystem;
using namespace ggq;
using ggq::test::check_contains;
using ggq::test::content_of;
using ggq::test::error_of;
using ggq::test::TempDir;

namespace {

std::string with_length(uint64_t length, const std::string& rest) {
    std::string file(8, '\0');
    std::memcpy(file.data(), &length, 8);
    return file + rest;
}

std::string file_of(const std::string& header, size_t data_bytes) {
    return with_length(header.size(), header + std::string(data_bytes, '\1'));
}

SafetensorsContent parse(const std::string& file) {
    return parse_safetensors({reinterpret_cast<const std::byte*>(file.data()), file.size()}, "x.safetensors");
}

std::string parse_error(const std::string& file) {
    return error_of([&] { parse(file); });
}

std::vector<fs::path> files_below(const fs::path& root, const std::string& extension) {
    std::vector<fs::path> files;
    if (fs::is_directory(root))
        for (const auto& entry : fs::recursive_directory_iterator(root))
            if (entry.path().extension() == extension) files.push_back(entry.path());
    return files;
}

constexpr const char* kGoodHeader =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("b":{"dtype":"U8","shape":[5],"data_offsets":[24,29]},"c":{"dtype":"BF16","shape":[],"data_offsets":[29,31]}})";

// A folder with two shards and the index of them.
void write_shards(const fs::path& folder) {
    static constexpr float kOne[] = {1, 2};
    write_safetensors(folder / "model-1.safetensors", {{"a", {kOne, DType::f32, {2}}}});
    write_safetensors(folder / "model-2.safetensors", {{"b", {kOne, DType::f32, {1}}}});
    write_file(folder / "model.safetensors.index.json",
               R"({"metadata":{},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})");
}

}  // namespace

TEST_CASE("a good header gives every tensor") {
    const std::string file = file_of(kGoodHeader, 31);
    const SafetensorsContent content = parse(file);
    REQUIRE(content.tensors.size() == 3);
    CHECK(content.metadata == FileMetadata{{"format", "pt"}});
    const FileTensor& a = content.tensors.at("a");
    CHECK(a.dtype == DType::f32);
    CHECK(a.shape == Shape{2, 3});
    CHECK(a.n_bytes() == 24);
    CHECK(content.tensors.at("c").shape.rank == 0);
    CHECK(static_cast<const char*>(content.tensors.at("b").data) == file.data() + file.size() - 7);
}

TEST_CASE("broken safetensors files are refused with the reason") {
    const auto one = [](const std::string& entry, size_t data_bytes) {
        return parse_error(file_of(R"({"w":)" + entry + "}", data_bytes));
    };
    check_contains(parse_error("short"), "x.safetensors: truncated: 5 bytes");
    check_contains(parse_error(with_length(1000, "{}")),
                   "the header of 1000 bytes reaches beyond the end of the file of 10 bytes");
    check_contains(parse_error(with_length(3, "{}")), "the header of 3 bytes reaches beyond");
    check_contains(parse_error(with_length(~uint64_t{0}, "{}")), "reaches beyond the end of the file");
    check_contains(parse_error("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
                   "x.safetensors is a Git LFS pointer, not the file itself; fetch it with: git lfs pull");
    check_contains(parse_error(file_of("{\"w\":", 0)), "x.safetensors, header: broken JSON on line 1");
    check_contains(parse_error(file_of("{\"\xff\":1}", 0)), "broken JSON");
    check_contains(parse_error(file_of("[]", 0)), "the header is not a JSON object");
    check_contains(parse_error(file_of(R"({"__metadata__":{"a":1}})", 0)), "the metadata entry 'a' is not a text");
    check_contains(one("[]", 0), "tensor 'w' lacks dtype, shape or data_offsets");
    check_contains(one(R"({"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]})", 4),
                   "tensor 'w' has dtype F8_E4M3; known are");
    check_contains(one(R"({"dtype":7,"shape":[4],"data_offsets":[0,4]})", 4), "tensor 'w' has dtype 7; known are");
    check_contains(one(R"({"dtype":"F32","shape":4,"data_offsets":[0,16]})", 16), "the shape of tensor 'w' is not a");
    check_contains(one(R"({"dtype":"F32","shape":[-4],"data_offsets":[0,16]})", 16), "entry that is no size: -4");
    check_contains(one(R"({"dtype":"F32","shape":[1e3],"data_offsets":[0,16]})", 16), "entry that is no size");
    check_contains(one(R"({"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[0,4]})", 4), "has 5 dimensions");
    check_contains(one(R"({"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16]})", 16),
                   "the shape [4294967296,4294967296,4] of tensor 'w' overflows 64 bits");
    check_contains(one(R"({"dtype":"F32","shape":[4],"data_offsets":[0]})", 16), "'w' are not two numbers");
    check_contains(one(R"({"dtype":"F32","shape":[4],"data_offsets":[16,0]})", 16), "'w' run backwards");
    check_contains(one(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})", 15),
                   "tensor 'w' ends at byte 16 of the data, but the file holds only 15; it is truncated");
    check_contains(one(R"({"dtype":"F16","shape":[4],"data_offsets":[0,16]})", 16),
                   "tensor 'w' F16 [4] needs 8 bytes, but its data_offsets hold 16");
    check_contains(one(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})", 20),
                   "4 bytes at the end of the file belong to no tensor");
    check_contains(parse_error(file_of(R"({"v":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                       R"("w":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
                                       7)),
                   "tensor 'w' overlaps the one before it");
    check_contains(parse_error(file_of(R"({"v":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                       R"("w":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}})",
                                       9)),
                   "1 bytes before tensor 'w' belong to no tensor");
}

TEST_CASE("a tensor that is not there is refused by name, a missing file too") {
    const TempDir dir;
    write_file(dir / "a.safetensors", file_of(kGoodHeader, 31));
    const SafetensorsFile file(dir / "a.safetensors");
    CHECK(file.find("nope") == nullptr);
    CHECK(error_of([&] { file.at("nope"); }) == file.path().string() + ": tensor 'nope' is missing");
    CHECK_THROWS_AS(SafetensorsFile(dir / "none.safetensors"), Error);
}

TEST_CASE("tensors that an old writer left unaligned are readable") {
    const TempDir dir;
    const std::string header = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} )";  // 8 + 55 bytes
    REQUIRE(header.size() % 4 != 0);
    const float values[] = {1.5f, -2};
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), values, 8);
    write_file(dir / "a.safetensors", with_length(header.size(), header + bytes));
    SafetensorsFile file(dir / "a.safetensors");
    const SafetensorsFile moved = std::move(file);
    const auto* read = static_cast<const float*>(moved.at("w").data);
    CHECK(reinterpret_cast<uintptr_t>(read) % alignof(float) == 0);
    CHECK(read[0] == 1.5f);
    CHECK(read[1] == -2);
}

TEST_CASE("the writer lays files out as the safetensors library does") {
    const TempDir dir;
    const uint8_t bytes[] = {1, 2, 3};
    const uint16_t halves[] = {4, 5};
    const float floats[] = {6, 7};
    write_safetensors(dir / "a", {{"a", {bytes, DType::u8, {3}}},
                                  {"b", {halves, DType::bf16, {2, 1}}},
                                  {"c", {floats, DType::f32, {1}}},
                                  {"bb", {floats, DType::f32, {2}}}});
    const std::string file = content_of(dir / "a");
    const std::string header =
        R"({"__metadata__":{"format":"pt"},"bb":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
        R"("c":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
        R"("b":{"dtype":"BF16","shape":[2,1],"data_offsets":[12,16]},"a":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}})";
    uint64_t length = 0;
    std::memcpy(&length, file.data(), 8);
    CHECK(length % 8 == 0);
    CHECK(file.substr(8, header.size()) == header);
    CHECK(file.substr(8 + header.size(), length - header.size()) == std::string(length - header.size(), ' '));
    CHECK(file.size() == 8 + length + 19);
    const SafetensorsFile read(dir / "a");
    CHECK(std::memcmp(read.at("b").data, halves, 4) == 0);
    CHECK(std::memcmp(read.at("a").data, bytes, 3) == 0);
}

TEST_CASE("reference files read and written again are the same files") {
    const auto root = test::fixtures();
    const auto files = root ? files_below(*root / "golden", ".safetensors") : std::vector<fs::path>{};
    if (files.empty()) return test::skipped("golden safetensors files are absent");
    const TempDir dir;
    for (const fs::path& path : files) {
        CAPTURE(path);
        const SafetensorsFile file(path);
        if (file.metadata().size() > 1) continue;  // the library writes several entries in no fixed order
        write_safetensors(dir / "copy", file.tensors(), file.metadata());
        CHECK(content_of(dir / "copy") == content_of(path));
    }
}

TEST_CASE("a random change of a header is refused or gives views inside the file") {
    const std::string good = file_of(kGoodHeader, 31);
    const size_t header_end = good.size() - 31;
    const std::string alphabet = "\"{}[],:-0123456789eE. \\\xff" + std::string(1, '\0');
    std::mt19937 random(1);
    int refused = 0;
    for (int round = 0; round < 20000; ++round) {
        std::string text = good;
        for (unsigned change = random() % 3 + 1; change > 0; --change) {
            const size_t at = random() % header_end;
            const unsigned kind = random() % 4;
            if (kind == 0) text[at] = static_cast<char>(random());
            if (kind == 1) text[at] = alphabet[random() % alphabet.size()];
            if (kind == 2) text.erase(at, random() % 4);
            if (kind == 3) text.insert(at, 1, alphabet[random() % alphabet.size()]);
        }
        const std::vector<char> file(text.begin(),
                                     text.end());  // exactly sized, so that a sanitizer sees every overrun
        try {
            const auto content =
                parse_safetensors({reinterpret_cast<const std::byte*>(file.data()), file.size()}, "x.safetensors");
            for (const auto& [name, tensor] : content.tensors) {
                const auto* begin = static_cast<const char*>(tensor.data);
                REQUIRE(begin >= file.data());
                REQUIRE(tensor.n_bytes() <= file.data() + file.size() - begin);
            }
        } catch (const Error&) {
            ++refused;
        }
    }
    CHECK(refused > 10000);
    CHECK(refused < 20000);
}

TEST_CASE("a sharded model is one set of tensors") {
    const TempDir dir;
    write_shards(dir.path());
    const ShardedSafetensors model(dir.path());
    CHECK(model.names() == std::vector<std::string>{"a", "b"});
    CHECK(model.at("a").shape == Shape{2});
    std::vector<std::byte> bytes;
    CHECK(static_cast<const float*>(model.read("b", bytes).data)[0] == 1);
    CHECK(model.find("c") == nullptr);
    CHECK(error_of([&] { model.at("c"); }) == dir.path().string() + ": tensor 'c' is missing");
    CHECK(model.files() == std::vector<fs::path>{dir / "model-1.safetensors", dir / "model-2.safetensors"});
    CHECK(static_cast<const float*>(model.read("a", bytes).data)[1] == 2);
    CHECK(error_of([&] { model.read("c", bytes); }) == dir.path().string() + ": tensor 'c' is missing");
}

TEST_CASE("what an index names and no shard holds is missed when it is asked for") {
    const TempDir dir;
    write_shards(dir.path());
    write_file(dir / "model.safetensors.index.json",
               R"({"weight_map":{"a":"model-1.safetensors","b":"model-1.safetensors","c":"model-1.safetensors",)"
               R"("d":"model-3.safetensors","e":"model-2.safetensors"}})");
    const ShardedSafetensors model(dir.path());
    CHECK(model.names() == std::vector<std::string>{"a", "b"});  // wherever they are
    CHECK(model.find("c") == nullptr);
    CHECK(model.why_missing("c") == "the index names it in model-1.safetensors, which does not hold it");
    CHECK(model.why_missing("d") == "the shard model-3.safetensors is missing; download it again");
    CHECK(model.why_missing("f") == "is the model folder complete?");
}

TEST_CASE("an index that makes no sense is refused") {
    const TempDir dir;
    const auto refusal = [&](const std::string& index) {
        write_shards(dir.path());
        write_file(dir / "model.safetensors.index.json", index);
        return error_of([&] { ShardedSafetensors model(dir.path()); });
    };
    check_contains(refusal(R"({"weight_map":{"a":"model-3.safetensors"}})"),
                   "model.safetensors.index.json: the shard model-3.safetensors is missing; download it again");
    check_contains(refusal(R"({"weight_map":{}})"), "model.safetensors.index.json: names no tensor");
    for (const std::string name : {"../model-1.safetensors", "/etc/passwd", "..", ".", "", "a/", "a\\u0000b"})
        check_contains(refusal(R"({"weight_map":{"a":")" + name + R"("}})"), "which is no file name");
    check_contains(refusal(R"({"weight_map":{"a":1}})"), "tensor 'a' is mapped to 1, which is no file name");
    check_contains(refusal(R"({"metadata":{}})"), "has no weight_map");
    check_contains(refusal("{"), "broken JSON on line 1");
    check_contains(refusal("version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer");
    write_shards(dir.path());
    static constexpr float kOne[] = {1};
    write_safetensors(dir / "model-2.safetensors", {{"a", {kOne, DType::f32, {1}}}, {"b", {kOne, DType::f32, {1}}}});
    check_contains(error_of([&] { ShardedSafetensors model(dir.path()); }),
                   "model-2.safetensors: tensor 'a' is in model-1.safetensors too");
}

TEST_CASE("a folder without safetensors is refused with advice") {
    const TempDir dir;
    const auto refusal = [&] { return error_of([&] { ShardedSafetensors model(dir.path()); }); };
    check_contains(refusal(), "holds no weights: neither model.safetensors nor model.safetensors.index.json is there");
    write_file(dir / "pytorch_model.bin", "");
    check_contains(refusal(), "holds its weights only as pytorch_model.bin, which cannot be read safely");
    check_contains(error_of([&] { ShardedSafetensors model(dir / "none"); }), "none is not there");
    write_file(dir / "model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
    check_contains(refusal(), "model.safetensors is a Git LFS pointer");
}
