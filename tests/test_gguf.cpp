// The reader of GGUF files, on good files of all versions, on broken and random ones.
#include "ggq/io/gguf.h"

#include <doctest/doctest.h>

#include <random>

#include "ggq/io/atomic_file.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/gguf_bytes.h"
#include "tests/temp_dir.h"

using namespace ggq;
using ggq::test::check_contains;
using ggq::test::error_of;
using ggq::test::GgufBytes;
using ggq::test::TempDir;

namespace {

Gguf parse(const std::string& file) {
    return parse_gguf({reinterpret_cast<const std::byte*>(file.data()), file.size()}, "x.gguf");
}

std::string parse_error(const std::string& file) {
    return error_of([&] { parse(file); });
}

std::string parse_error(const GgufBytes& bytes) { return parse_error(bytes.file()); }

GgufBytes good(uint32_t version) {
    GgufBytes bytes(version);
    bytes.entry("general.architecture", "llama").entry("n", uint32_t{7}).entry("eps", 0.5f).entry("on", true);
    bytes.entry("small", 1, GgufBytes::raw(int8_t{-3})).entry("large", 10, GgufBytes::raw(~uint64_t{0}));
    bytes.entry("wide", 12, GgufBytes::raw(0.25)).entry("words", std::vector<std::string>{"a", "", "\xff"});
    bytes.list<float>("scores", 6, {1, 2}).list<uint16_t>("ids", 2, {3, 65535}).list<uint8_t>("flags", 7, {0, 1});
    bytes.tensor("a", {2, 3}, 0, std::string(24, '\1')).tensor("b", {64, 2}, 8, std::string(136, '\2'));
    return bytes;
}

}  // namespace

TEST_CASE("gguf: metadata of every kind and tensors, in versions 1 to 3") {
    for (const uint32_t version : {1u, 2u, 3u}) {
        CAPTURE(version);
        const Gguf gguf = parse(good(version).file());
        CHECK(gguf.version == version);
        CHECK(gguf.text("general.architecture") == "llama");
        CHECK(gguf.count("n") == 7);
        CHECK(gguf.token("n") == 7);
        CHECK(gguf.number("n") == 7.0);
        CHECK(gguf.number("eps") == 0.5);
        CHECK(gguf.number("wide") == 0.25);
        CHECK(gguf.number("small") == -3.0);
        CHECK(gguf.flag("on") == true);
        CHECK(std::get<uint64_t>(*gguf.find("large")) == ~uint64_t{0});
        CHECK(gguf.texts("words") == std::vector<std::string>{"a", "", "\xff"});
        CHECK(gguf.numbers("scores") == std::vector<float>{1, 2});
        CHECK(gguf.integers("ids") == std::vector<int64_t>{3, 65535});
        CHECK(std::get<std::vector<bool>>(*gguf.find("flags")) == std::vector<bool>{false, true});
        CHECK(gguf.tensor("a").shape == Shape{3, 2});
        CHECK(gguf.tensor("b").type == GgufType::q8_0);
        CHECK(gguf.tensor("b").row_bytes() == 68);
        CHECK(gguf.tensor("b").n_bytes() == 136);
        CHECK(gguf.tensor("b").offset == gguf.tensor("a").offset + 32);
    }
}

TEST_CASE("gguf: what is not there is nothing, what is of another kind is refused by name") {
    const Gguf gguf = parse(good(3).file());
    CHECK(!gguf.text("none"));
    CHECK(!gguf.count("none"));
    CHECK(gguf.texts("none").empty());
    CHECK(error_of([&] { gguf.text("n"); }) == "x.gguf: 'n': expected a text, got a whole number");
    CHECK(error_of([&] { gguf.texts("scores"); }) ==
          "x.gguf: 'scores': expected a list of texts, got a list of numbers");
    CHECK(error_of([&] { gguf.count("small"); }) == "x.gguf: 'small': expected 0 or more, got -3");
    CHECK(error_of([&] { gguf.tensor("c"); }) == "x.gguf: tensor 'c' is missing");
}

TEST_CASE("gguf: empty lists are of any kind") {
    const Gguf gguf = parse(GgufBytes().list<uint32_t>("merges", 4, {}).file());
    CHECK(gguf.has("merges"));
    CHECK(gguf.texts("merges").empty());
}

TEST_CASE("gguf: another alignment") {
    GgufBytes bytes;
    bytes.entry("general.alignment", uint32_t{64}).tensor_at("a", {2}, 0, 64);
    std::string file = bytes.file();
    file.resize((file.size() + 63) / 64 * 64 + 64 + 8);
    const Gguf gguf = parse(file);
    CHECK(gguf.tensor("a").offset == file.size() - 8);
    check_contains(parse_error(GgufBytes().entry("general.alignment", uint32_t{48})), "expected a power of two");
    check_contains(parse_error(GgufBytes().entry("general.alignment", uint32_t{0})), "expected a power of two");
}

TEST_CASE("gguf: files that are none are refused with what is wrong") {
    check_contains(parse_error(""), "reach beyond the file");
    check_contains(parse_error("GGML and more"), "does not begin with GGUF");
    check_contains(parse_error("version https://git-lfs.github.com/spec/v1\n"), "LFS");
    check_contains(parse_error("GGUF" + GgufBytes::raw(uint32_t{0x03000000}) + std::string(16, '\0')), "big-endian");
    check_contains(parse_error("GGUF" + GgufBytes::raw(uint32_t{4}) + std::string(16, '\0')), "version 4");
    check_contains(parse_error(GgufBytes().entry("a", uint32_t{1}).entry("a", uint32_t{2})), "'a' is there twice");
    check_contains(parse_error(GgufBytes().entry("a", 13, "")), "kind 13");
    check_contains(parse_error(GgufBytes().list<uint32_t>("a", 9, {1})), "list of values of kind 9");
    const std::string whole = good(3).file();
    for (size_t size = 0; size < whole.size() - 31; size += 7) parse_error(whole.substr(0, size));
    check_contains(parse_error(whole.substr(0, whole.size() - 64)), "tensor 'b' of 136 bytes");
}

TEST_CASE("gguf: tensors that cannot be are refused by name") {
    const auto of = [](const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset = 0) {
        return parse_error(GgufBytes().tensor("a", {2}, 0, std::string(64, '\0')).tensor_at("t", sizes, type, offset));
    };
    check_contains(of({2}, 10), "tensor 't' is of type Q2_K; read are F32");
    check_contains(of({2}, 99), "99, which is not known");
    check_contains(of({}, 0), "has 0 dimensions");
    check_contains(of({1, 1, 1, 1, 1}, 0), "has 5 dimensions");
    check_contains(of({0}, 0), "side of 0 elements");
    check_contains(of({~uint64_t{0}}, 0), "a side of");
    check_contains(of({uint64_t{1} << 40, uint64_t{1} << 40}, 0), "overflows 64 bits");
    check_contains(of({33}, 8), "no whole number of blocks of 32");
    check_contains(of({2}, 0, 4), "not at a multiple of 32");
    check_contains(of({2}, 0, 1 << 20), "ends beyond the file");
    check_contains(of({2}, 0, ~uint64_t{31}), "ends beyond the file");
    check_contains(of({2}, 0, 0), "overlaps");
    check_contains(parse_error(GgufBytes().tensor("a", {2}, 0, "01234567").tensor("a", {2}, 0, "01234567")),
                   "tensor 'a' is there twice");
}

TEST_CASE("gguf: counts and lengths that reach beyond the file take no memory") {
    const std::string huge = GgufBytes::raw(~uint64_t{0});
    check_contains(parse_error(GgufBytes().entry("a", 8, huge)), "truncated");
    for (const uint32_t kind : {0u, 6u, 8u, 12u})
        check_contains(parse_error(GgufBytes().entry("a", 9, GgufBytes::raw(kind) + huge)), "truncated");
    check_contains(parse_error("GGUF" + GgufBytes::raw(uint32_t{3}) + huge + huge), "truncated");
}

TEST_CASE("gguf: any byte of a file may be wrong") {
    std::mt19937 random(1);
    for (int i = 0; i < 20000; ++i) {
        std::string file = good(1 + i % 3).file();
        for (int n = 0; n < 1 + i % 3; ++n) file[random() % file.size()] = static_cast<char>(random());
        parse_error(file);
    }
}

TEST_CASE("gguf: a file is read in parts") {
    const TempDir dir;
    const auto path = dir / "a.gguf";
    write_file(path, good(3).file());
    CHECK(is_gguf(path));
    CHECK(!is_gguf(dir.path()));
    CHECK(!is_gguf(dir / "none"));
    const GgufFile file(path);
    std::vector<std::byte> part(2);
    file.read_part(file.content().tensor("b"), 134, part);
    CHECK(part == std::vector<std::byte>(2, std::byte{2}));
}

TEST_CASE("gguf: files of llama.cpp") {
    const auto root = test::fixtures();
    if (!root || !std::filesystem::exists(*root / "data/gguf-samples"))
        return test::skipped("data/gguf-samples is absent");
    const auto samples = *root / "data/gguf-samples";
    const GgufFile old(samples / "ggml-vocab-llama-v1.gguf");
    CHECK(old.content().version == 1);
    CHECK(old.content().metadata.size() == 13);
    CHECK(old.content().tensors.empty());
    CHECK(old.content().texts("tokenizer.ggml.tokens").size() == 32000);
    const GgufFile tiny(samples / "llama-2-tiny-random-f16-v3.gguf");
    CHECK(tiny.content().version == 3);
    CHECK(tiny.content().text("general.architecture") == "llama");
    CHECK(tiny.content().tensor("token_embd.weight").shape == Shape{32000, 8});
    CHECK(tiny.content().tensor("blk.0.attn_q.weight").type == GgufType::f16);
}
