// Safetensors written in any order: one file or shards with an index, texts of unknown length behind, room on the disk.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "ggq/io/disk_space.h"
#include "ggq/io/sharded_safetensors.h"
#include "ggq/io/sharded_writer.h"
#include "tests/file_checks.h"
#include "tests/temp_dir.h"

namespace fs = std::filesystem;
using namespace ggq;
using ggq::test::check_contains;
using ggq::test::content_of;
using ggq::test::error_of;
using ggq::test::TempDir;

namespace {

std::vector<float> numbers(int64_t n, float first) {
    std::vector<float> values(static_cast<size_t>(n));
    std::iota(values.begin(), values.end(), first);
    return values;
}

// `n` tensors t0, t1, ... of 10 floats and a byte each.
std::vector<TensorGroup> groups_of(int n) {
    std::vector<TensorGroup> groups;
    for (int i = 0; i < n; ++i) {
        const std::string name = "t" + std::to_string(i);
        groups.push_back({{{name, {nullptr, DType::f32, {2, 5}}}, {name + ".code", {nullptr, DType::u8, {1}}}},
                          {{name + ".text", 30}}});
    }
    return groups;
}

void write_group(ShardedWriter& writer, int i) {
    const std::string name = "t" + std::to_string(i);
    const std::vector<float> values = numbers(10, static_cast<float>(i));
    const auto bytes = std::as_bytes(std::span(values));
    writer.write_text(name + ".text", "text " + name);
    const auto code = static_cast<std::byte>(i);
    writer.write(name + ".code", 0, {&code, 1});
    writer.write(name, 12, bytes.subspan(12));
    writer.write(name, 0, bytes.first(12));
}

void check_content(const fs::path& folder, int n) {
    const ShardedSafetensors files(folder);
    CHECK(std::ssize(files.names()) == 3 * n);
    for (int i = 0; i < n; ++i) {
        const std::string name = "t" + std::to_string(i);
        std::vector<std::byte> bytes;
        const FileTensor t = files.read(name, bytes);
        const std::vector<float> expected = numbers(10, static_cast<float>(i));
        CHECK(std::equal(expected.begin(), expected.end(), static_cast<const float*>(t.data)));
        const FileTensor text = files.read(name + ".text", bytes);
        CHECK(std::string(static_cast<const char*>(text.data), static_cast<size_t>(text.n_bytes())) == "text " + name);
    }
}

}  // namespace

TEST_CASE("tensors written in pieces and any order make the file that write_safetensors makes") {
    const TempDir dir;
    const std::vector<float> a = numbers(6, 1), b = numbers(4, 9);
    const std::vector<uint8_t> c = {1, 2, 3};
    const FileTensors tensors = {
        {"a", {a.data(), DType::f32, {2, 3}}}, {"b", {b.data(), DType::f32, {4}}}, {"c", {c.data(), DType::u8, {3}}}};
    write_safetensors(dir / "expected", tensors);
    SafetensorsWriter writer(dir / "written", tensors);
    for (const char* name : {"c", "b", "a"}) {
        CHECK_FALSE(writer.complete());
        const FileTensor& t = tensors.at(name);
        writer.write(name, 0, {static_cast<const std::byte*>(t.data), static_cast<size_t>(t.n_bytes())});
    }
    CHECK(writer.complete());
    CHECK_FALSE(fs::exists(dir / "written"));
    writer.commit();
    CHECK(content_of(dir / "written") == content_of(dir / "expected"));
}

TEST_CASE("weights go into one file, or into shards of at most a size with an index") {
    for (const auto& [most, files] : {std::pair<int64_t, size_t>{kShardBytes, 1}, {150, 3}, {1, 5}}) {
        const TempDir dir;
        ShardedWriter writer(dir.path(), groups_of(5), most);
        for (int i = 4; i >= 0; --i) write_group(writer, i);
        writer.finish();
        check_content(dir.path(), 5);
        size_t n_files = 0;
        int64_t n_bytes = 0;
        for (const auto& entry : fs::directory_iterator(dir.path())) {
            n_files += entry.path().extension() == ".safetensors";
            n_bytes += static_cast<int64_t>(entry.file_size());
        }
        CHECK(n_files == files);
        CHECK(n_bytes <= writer.n_bytes());
        CHECK(fs::exists(dir / "model.safetensors.index.json") == (files > 1));
        if (files == 1) continue;
        const auto index = nlohmann::json::parse(content_of(dir / "model.safetensors.index.json"));
        CHECK(index.at("metadata").at("total_size") == 5 * (40 + 1 + 7));
        CHECK(index.at("weight_map").at("t0") == fmt::format("model-00001-of-{:05}.safetensors", files));
    }
}

TEST_CASE("a disk without room is refused before anything is written") {
    const TempDir dir;
    require_disk_space(dir / "new" / "folder", 1);
    check_contains(error_of([&] { require_disk_space(dir / "new" / "folder", int64_t{1} << 60); }),
                   "new/folder: expected 1073741824.00 GiB free on the disk, got ");
}
