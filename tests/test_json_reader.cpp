// The one reader of JSON: its limits, what its errors say, and that every file that is JSON goes through it.
#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "ggq/io/atomic_file.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/sharded_safetensors.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"
#include "models/adapter_files.h"
#include "models/config.h"
#include "models/text/records.h"
#include "models/text/tokenizer.h"
#include "models/train/checkpoint.h"
#include "models/train/log.h"
#include "tests/file_checks.h"
#include "tests/temp_dir.h"

namespace fs = std::filesystem;
using namespace ggq;
using ggq::test::check_contains;
using ggq::test::error_of;
using ggq::test::TempDir;
using nlohmann::json;

namespace {

std::string nested(size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); }

std::string refusal(const std::string& text) {
    return error_of([&] { parse_json(text, "a.json"); });
}

std::string with_header(const std::string& header) {
    const uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header;
}

// A file that is JSON, or holds it, and what reads it in a folder.
struct JsonReader {
    const char* file;
    std::function<void(const fs::path& folder)> read;
};

const JsonReader kReaders[] = {
    {"config.json", [](const fs::path& folder) { read_config(folder); }},
    {"tokenizer.json", [](const fs::path& folder) { Tokenizer::load(folder); }},
    {"model.safetensors", [](const fs::path& folder) { ShardedSafetensors weights(folder); }},
    {"model.safetensors.index.json", [](const fs::path& folder) { ShardedSafetensors weights(folder); }},
    {"adapter_config.json",
     [](const fs::path& folder) {
         const fs::path path = folder / "adapter_config.json";
         parse_lora_config(read_text_file(path), path.string());
     }},
    {"ggq_base.json", [](const fs::path& folder) { read_base_record(folder); }},
    {"trainer_state.json", [](const fs::path& folder) { read_trainer_state(folder); }},
    {"log.jsonl", [](const fs::path& folder) { read_log(folder / "log.jsonl"); }},
    {"data.jsonl", [](const fs::path& folder) { read_records(folder / "data.jsonl", {}); }},
    {"data.json", [](const fs::path& folder) { read_records(folder / "data.json", {}); }},
};

// A line that the log takes and the data takes.
const std::string kRecord = "{\"text\": \"a\"}\n";

// What the reader of a file says to `value` as the only one in it.
std::string said_to(const JsonReader& reader, const std::string& value) {
    const TempDir dir;
    const std::string name = reader.file;
    const std::string object = "{\"a\":\n" + value + "}";
    const std::string line = "{\"a\":" + value + "}\n";
    write_file(dir / name, name == "model.safetensors" ? with_header(object)
                           : name.ends_with(".jsonl")  ? kRecord + line
                           : name == "data.json"       ? "[" + object + "]"
                                                       : object);
    const std::string said = error_of([&] { reader.read(dir.path()); });
    check_contains(said, (dir / name).string());
    return said;
}

}  // namespace

TEST_CASE("json: as deep as the limit, and not deeper") {
    CHECK(parse_json(nested(kMostJsonLevels), "a.json").is_array());
    CHECK(refusal(nested(kMostJsonLevels + 1)) == "a.json: broken JSON on line 1: nested deeper than 512 levels");
    CHECK(refusal("\n\n{\"a\": " + nested(600) + "}") ==
          "a.json: broken JSON on line 3: nested deeper than 512 levels");
    CHECK(refusal("[\"" + std::string(600, '[') + "\", \"\\\"[\"]") == "no error");
    CHECK(refusal(std::string(1'000'000, '[')) == "a.json: broken JSON on line 1: nested deeper than 512 levels");
    std::string objects;
    for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
    CHECK(refusal(objects) == "a.json: broken JSON on line 1: nested deeper than 512 levels");
}

TEST_CASE("json: every reader refuses what is nested too deep, with file and line") {
    for (const JsonReader& reader : kReaders) {
        CAPTURE(reader.file);
        check_contains(said_to(reader, nested(100'000)), "broken JSON on line 2: nested deeper than 512 levels");
    }
}

TEST_CASE("json: every reader refuses numbers beyond double and words that are not JSON, with file and line") {
    for (const JsonReader& reader : kReaders) {
        CAPTURE(reader.file);
        check_contains(said_to(reader, "1e999"),
                       "broken JSON on line 2: the number '1e999' is beyond the range of 64-bit floats");
        check_contains(said_to(reader, "-Infinity"), "broken JSON on line 2: Infinity is not JSON; write null");
        check_contains(said_to(reader, "[1, NaN]"), "broken JSON on line 2: NaN is not JSON; write null");
    }
}

TEST_CASE("json: what is broken is shown short, and nothing of it is obeyed") {
    CHECK(refusal("") ==
          "a.json: broken JSON on line 1: syntax error while parsing value - unexpected end of input; expected "
          "'[', '{', or a literal");
    CHECK(refusal("[1,\n2,\n}") ==
          "a.json: broken JSON on line 3: syntax error while parsing value - unexpected '}'; expected '[', '{', or a "
          "literal");
    const std::string huge = refusal("[\"" + std::string(100'000, 'x') + "\x01\"]");
    CHECK(huge.size() < 400);
    check_contains(huge, "must be escaped to \\u0001");
    CHECK(refusal("[" + std::string(100'000, '9') + "]").size() < 200);
    check_contains(refusal("[\x1b[31m]"), "broken JSON on line 1");
    CHECK(refusal("[\x1b[31m]").find('\x1b') == std::string::npos);
    check_contains(refusal("[\"\xff\"]"), "ill-formed UTF-8");
    check_contains(refusal("[\"\\ud800\"]"), "broken JSON on line 1");
    CHECK(refusal(std::string("{}\n\0{}", 6)) == "a.json: broken JSON on line 2: a byte 0");
}

TEST_CASE("json: of a key that is there twice the last value counts, where the key stood first") {
    CHECK(parse_json(R"({"a": 1, "b": 2, "a": 3})", "a.json") == json({{"a", 3}, {"b", 2}}));
    CHECK(parse_ordered_json(R"({"b": 1, "a": 2, "b": {"c": [3]}})", "a.json").dump() == R"({"b":{"c":[3]},"a":2})");
    CHECK(error_of([] { parse_json(R"({"a": {"b\u001b": 1, "b\u001b": 2}})", "a.json", 1, SameKey::refused); }) ==
          "a.json: broken JSON on line 1: the key 'b\\u001b' is there twice");
}

TEST_CASE("json: what is read in order is what nlohmann reads") {
    const std::string text = R"({"z": [1, -2, 0.5, 18446744073709551615, true, null, "\u00e9\u0000"], "a": {"c": {}}})";
    CHECK(parse_ordered_json(text, "a.json") == nlohmann::ordered_json::parse(text));
    CHECK(parse_json(text, "a.json") == json::parse(text));
    std::string many = "{";
    for (int i = 0; i < 100'000; ++i) many += fmt::format("{}\"key {}\": {}", i ? "," : "", i, i);
    CHECK(parse_ordered_json(many + "}", "a.json").size() == 100'000);
}

TEST_CASE("what is shown holds nothing that a terminal obeys") {
    CHECK(shown("plain, é, 日本, 🙂") == "plain, é, 日本, 🙂");
    CHECK(shown("a\nb\tc\r") == "a\\nb\\tc\\r");
    CHECK(shown(std::string_view("\0\x1b[31m\x7f", 7)) == "\\u0000\\u001b[31m\\u007f");
    CHECK(shown("\u009b1m \u202eevil\u2066 \u200b\ufeff") == "\\u009b1m \\u202eevil\\u2066 \\u200b\\ufeff");
    CHECK(shown("\U000e0041") == "\\ue0041");
    CHECK(shown("\xff\xc3(\xe2\x82") == "\\xff\\xc3(\\xe2\\x82");
    CHECK(shown(std::string(300, 'a')) == std::string(150, 'a') + " [... 100 bytes ...] " + std::string(50, 'a'));
    const std::string cut = shown("12345678901234567890123456é", 10);
    CHECK(cut == "12345678 [... 18 bytes ...] é");
}
