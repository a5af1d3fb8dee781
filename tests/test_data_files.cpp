// What holds records: JSON arrays read a value at a time, CSV, plain text, several files; and samples that lie on disk.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "models/data_choice.h"
#include "models/text/csv.h"
#include "models/text/dataset.h"
#include "tests/fixtures.h"
#include "tests/small_tokenizers.h"
#include "tests/temp_dir.h"

using ggq::DataOptions;
using ggq::Dataset;
using ggq::Documents;
using ggq::Record;
using ggq::RecordOptions;
using ggq::Sample;
using ggq::test::TempDir;
using ggq::test::write_file;

namespace fs = std::filesystem;

namespace {

std::vector<Record> records(const std::string& name, const std::string& content, const RecordOptions& options = {}) {
    const TempDir folder;
    write_file(folder / name, content);
    return read_records(folder / name, options);
}

// Without the folder.
std::string refusal(const std::string& name, const std::string& content, const RecordOptions& options = {}) {
    try {
        records(name, content, options);
    } catch (const ggq::Error& error) {
        const std::string text = error.what();
        const size_t file = text.find(name);
        return file == std::string::npos ? text : text.substr(file);
    }
    return "read";
}

std::vector<std::string> answers(const std::string& name, const std::string& content, Documents documents) {
    RecordOptions options;
    options.documents = documents;
    std::vector<std::string> texts;
    for (const Record& record : records(name, content, options)) texts.push_back(record.answer);
    return texts;
}

std::vector<std::vector<std::string>> rows(const std::string& content) {
    const TempDir folder;
    write_file(folder / "a.csv", content);
    ggq::TextStream text(folder / "a.csv");
    ggq::CsvReader reader(text, ggq::csv_separator(text));
    std::vector<std::vector<std::string>> all;
    for (std::vector<std::string> row; reader.next(row);) all.push_back(row);
    return all;
}

using Rows = std::vector<std::vector<std::string>>;
using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("csv: quotes, line ends and separators within them, empty fields") {
    CHECK(rows("a,b\r\n1,2\r\n") == Rows{{"a", "b"}, {"1", "2"}});
    CHECK(rows("a,b\n\"x,\"\"y\"\"\n z\",\n\n,\"\"") == Rows{{"a", "b"}, {"x,\"y\"\n z", ""}, {"", ""}});
    CHECK(rows("a;b,c;d\n1;2;3\n") == Rows{{"a", "b,c", "d"}, {"1", "2", "3"}});
    CHECK(rows("a\tb\n\"1\"\t5\" pipe\n") == Rows{{"a", "b"}, {"1", "5\" pipe"}});
    CHECK(rows("\xEF\xBB\xBF\"a\",b\nx\ry,z") == Rows{{"a", "b"}, {"x\ry", "z"}});
    CHECK(rows("").empty());
}

TEST_CASE("csv: columns are fields, each row a record with its line") {
    const auto read = records("d.csv", "instruction,input,output,extra\n\"a\nb\",,c,\nd,e,f,g\n");
    REQUIRE(read.size() == 2);
    CHECK(read[0].form == ggq::Form::alpaca);
    CHECK(read[0].prompt == "a\nb");
    CHECK(read[0].input.empty());
    CHECK(read[1].input == "e");
    CHECK(read[1].answer == "f");
    CHECK(read[1].place.ends_with("d.csv: line 4"));
    RecordOptions body;
    body.text_field = "body";
    CHECK(records("d.tsv", "id\tbody\n1\ta,b\n", body)[0].answer == "a,b");
    const auto chat = records("d.csv", "messages\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"x\"\"}]\"\n");
    CHECK(chat[0].form == ggq::Form::chat);
    RecordOptions csv;
    csv.format = ggq::DataFormat::csv;
    CHECK(records("data", "text\nx\n", csv)[0].answer == "x");
}

TEST_CASE("csv: what is wrong is said with its line") {
    CHECK(refusal("d.csv", "") == "d.csv: the file is empty, expected a header and rows");
    CHECK(refusal("d.csv", "text\n") == "d.csv: expected training samples, got none");
    CHECK(refusal("d.csv", "text,b\nx,y\nz\n") == "d.csv: line 3: expected 2 fields as in the header, got 1");
    CHECK(refusal("d.csv", "text,text\n") == "d.csv: line 1: the header names a field twice");
    CHECK(refusal("d.csv", "text\n\"x\n") == "d.csv: line 2: a quote is opened and not closed");
    CHECK(
        refusal("d.csv", "text\n\"x\"y\n") ==
        "d.csv: line 2: expected ',' or the end of the line behind a closing quote; a quote within a field is written "
        "twice");
    CHECK(refusal("d.csv", "text\nx\n\xC3(\n") ==
          "d.csv: line 3 is not valid UTF-8 (byte 0xc3); save the file as UTF-8");
    CHECK(refusal("d.csv", "q,a\nx,y\n").starts_with("d.csv: line 2: unknown form of data: expected messages"));
}

TEST_CASE("data: a JSON array is read a value at a time, with the errors of the whole") {
    CHECK(records("a.json", "[\n{\"text\": \"]},\\\"\\\\\"} ,{\"text\":\"b\"}\n]\n").size() == 2);
    CHECK(records("a.json", "[{\"text\": \"]},\\\"\\\\\"}]")[0].answer == "]},\"\\");
    CHECK(refusal("a.json", "[{\"text\": \"a\"},\n]") ==
          "a.json: broken JSON on line 2: a comma before the end of the list");
    CHECK(refusal("a.json", "[{\"text\": \"a\"}\n") == "a.json: broken JSON on line 2: the list does not end");
    CHECK(refusal("a.json", "[{\"text\": \"a\"},").ends_with("the list does not end"));
    CHECK(refusal("a.json", "[{\"text\": \"a\"}]\n]") ==
          "a.json: broken JSON on line 2: expected nothing behind the list");
    CHECK(refusal("a.json", "[{\"text\": \"a\"}\n{\"text\": \"b\"}]").starts_with("a.json: broken JSON on line 2: "));
    CHECK(refusal("a.json", "[{\"text\": [}]").starts_with("a.json: broken JSON on line 1: "));
}

TEST_CASE("data: plain text by file, blank lines or lines") {
    const std::string text = "a\nb\n\n\nc\r\n \r\nd";
    CHECK(answers("t.txt", text, Documents::file) == Texts{text});
    CHECK(answers("t.txt", text, Documents::blank_lines) == Texts{"a\nb", "c", "d"});
    CHECK(answers("t.txt", text, Documents::lines) == Texts{"a", "b", "c", "d"});
    const std::string marked = "a\n\nb\n<|endoftext|>\nc\n<|endoftext|>\n";
    CHECK(answers("t.txt", marked, Documents::file) == Texts{"a\n\nb", "c"});
    CHECK(answers("t.txt", marked, Documents::blank_lines) == Texts{"a", "b", "c"});
    CHECK(answers("t.txt", marked, Documents::lines) == Texts{"a", "b", "c"});
    RecordOptions blank_lines;
    blank_lines.documents = Documents::blank_lines;
    CHECK(records("t.txt", "\n\na\n\nb", blank_lines)[1].place.ends_with("t.txt: line 5"));
    CHECK(refusal("t.txt", "\n \n") == "t.txt: expected training samples, got none");
    CHECK(refusal("t.txt", "a\n\xFF\n") == "t.txt: line 2 is not valid UTF-8 (byte 0xff); save the file as UTF-8");
}

TEST_CASE("data: documents of plain text are split where that is asked for, and end once") {
    const TempDir folder;
    write_file(folder / "t.txt", "abcdefgh");
    DataOptions options;
    options.max_length = 4;
    options.split_documents = true;
    const Dataset set = load_dataset(folder / "t.txt", ggq::test::byte_tokenizer(), 302, options);
    REQUIRE(set.train.size() == 3);
    CHECK(set.train[0].ids == std::vector<int32_t>{300, 'a', 'b', 'c'});
    CHECK(set.train[2].ids == std::vector<int32_t>{'h', 301});
    CHECK(set.train[1].has_loss == std::vector<uint8_t>{0, 1, 1, 1});
    CHECK(set.report.missing_eos == 0);
    options.split_documents = false;
    CHECK_THROWS_WITH_AS(load_dataset(folder / "t.txt", ggq::test::byte_tokenizer(), 302, options),
                         doctest::Contains("longer than 4 tokens"), ggq::Error);
}

TEST_CASE("data: several files, of several forms, and a limit over all of them") {
    const TempDir folder;
    write_file(folder / "a.jsonl", "{\"text\": \"a\"}\n{\"prompt\": \"p\", \"completion\": \"b\"}\n");
    write_file(folder / "b,c.csv", "text\nc\n");
    write_file(folder / "d.txt", "d");
    const std::string a = folder / "a.jsonl", b = folder / "b,c.csv", d = folder / "d.txt";
    CHECK(ggq::data_files(b).size() == 1);  // a comma in a name that is there
    const auto set = load_dataset(a + "," + d, ggq::test::byte_tokenizer(), 302, {});
    CHECK(set.train.size() == 3);
    CHECK(set.report.forms == std::vector{ggq::Form::text, ggq::Form::completion});
    DataOptions two;
    two.records.limit = 2;
    CHECK(load_dataset(d + "," + a, ggq::test::byte_tokenizer(), 302, two).train.size() == 2);
    CHECK_THROWS_WITH_AS(load_dataset(a + ",/no/such", ggq::test::byte_tokenizer(), 302, {}), "/no/such: no such file",
                         ggq::Error);
}

TEST_CASE("data: a folder of train, valid and test files") {
    const TempDir folder;
    write_file(folder / "train.jsonl", "{\"text\": \"a\"}\n");
    const std::string data = folder.path();
    CHECK(ggq::file_of_data(data, ggq::kTrainingParts) == folder / "train.jsonl");
    CHECK(ggq::validation_data(data, "", 0).empty());
    CHECK_THROWS_WITH_AS(
        ggq::file_of_data(data, ggq::kTestParts),
        doctest::Contains("expected a file of data, or a folder with test or valid or validation.jsonl"), ggq::Error);
    write_file(folder / "valid.csv", "text\na\n");
    CHECK(ggq::validation_data(data, "", 0) == folder / "valid.csv");
    CHECK(ggq::validation_data(data, "", 0.1).empty());
    CHECK(ggq::validation_data(data, "x.json", 0) == "x.json");
    CHECK(ggq::file_of_data(data, ggq::kTestParts) == folder / "valid.csv");
    CHECK(ggq::file_of_data("x.json", ggq::kTestParts) == "x.json");
}

TEST_CASE("data: earlier turns of an Alpaca record are for conversations") {
    const std::string line =
        R"({"instruction": "c", "input": "", "output": "d", "system": "s", "history": [["a", "b"]]})";
    RecordOptions chat;
    chat.form = "chat";
    const auto read = records("a.jsonl", line, chat);
    CHECK(read[0].chat.n_messages() == 5);
    CHECK(read[0].chat.loss_turns == std::vector<size_t>{2, 4});
    CHECK(refusal("a.jsonl", line) == "a.jsonl: line 1: history is part of a conversation; use `template` chat");
    CHECK(refusal("a.jsonl", R"({"instruction": "c", "output": "d", "history": ["a"]})", chat) ==
          "a.jsonl: line 1: history: expected pairs of a question and its answer");
}

TEST_CASE("data: what holds data in another way is refused with what would help") {
    CHECK(refusal("d.bin", "PAR1..").starts_with("d.bin is a Parquet file, which is not read here; convert it with: "));
    CHECK(refusal("d.feather", "ARROW1..").find("pandas.read_feather('") != std::string::npos);
    CHECK(refusal("d.xlsx", "PK\x03\x04...") ==
          "d.xlsx is an archive or a spreadsheet (zip), which is not read here; unpack it to JSON lines, CSV or text");
    CHECK(refusal("d.jsonl.gz", "\x1F\x8B...").starts_with("d.jsonl.gz is compressed (gzip)"));
}

TEST_CASE("samples: those that are not held lie in a file and are the same") {
    std::vector<Sample> all;
    for (int32_t i = 0; i < 600; ++i) {
        Sample sample;
        for (int32_t t = 0; t < i * 37 % 1000 + 1; ++t) {
            sample.ids.push_back(i * 1000 + t);
            sample.has_loss.push_back((i + t) % 3 == 0);
        }
        all.push_back(std::move(sample));
    }
    for (const int64_t most_held : {int64_t{0}, int64_t{1}, int64_t{777}, ggq::TokenStore::kMostHeld}) {
        CAPTURE(most_held);
        ggq::Samples samples(std::make_shared<ggq::TokenStore>(most_held));
        for (const Sample& sample : all) samples.push_back(sample);
        bool same = samples.size() == all.size();
        for (size_t i = 0; i < all.size(); ++i)
            same = same && samples[i].ids == all[i].ids && samples[i].has_loss == all[i].has_loss &&
                   samples.n_tokens(i) == all[i].n_tokens();
        CHECK(same);
    }
}

TEST_CASE("data: the same set whether its tokens are held or not") {
    std::string lines;
    for (int i = 0; i < 2000; ++i) lines += "{\"text\": \"" + std::string(static_cast<size_t>(i % 300), 'x') + "\"}\n";
    const TempDir folder;
    write_file(folder / "a.jsonl", lines);
    DataOptions options;
    options.val_split = 0.1;
    const Dataset held = load_dataset(folder / "a.jsonl", ggq::test::byte_tokenizer(), 302, options);
    options.most_held_tokens = 1000;
    const Dataset aside = load_dataset(folder / "a.jsonl", ggq::test::byte_tokenizer(), 302, options);
    CHECK(aside.hash == held.hash);
    CHECK(aside.validation.size() == 200);
}
