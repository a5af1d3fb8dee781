// Data files: the forms that are read, loss masks, long samples, counts, and every way a file is refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "models/text/dataset.h"
#include "models/text/template.h"
#include "tests/fixtures.h"
#include "tests/small_tokenizers.h"
#include "tests/temp_dir.h"

using ggq::DataOptions;
using ggq::Dataset;
using ggq::OnLong;
using ggq::Sample;
using ggq::Tokenizer;
using ggq::test::TempDir;
using ggq::test::write_file;
using nlohmann::json;

namespace fs = std::filesystem;

namespace {

using Ids = std::vector<int32_t>;

constexpr int64_t kVocab = 302;
constexpr int32_t kBos = 300, kEos = 301;

Dataset load(const std::string& content, const DataOptions& options = {}, int64_t vocab_size = kVocab) {
    static const Tokenizer tokenizer = ggq::test::byte_tokenizer();
    const TempDir folder;
    write_file(folder / "data.jsonl", content);
    return load_dataset(folder / "data.jsonl", tokenizer, vocab_size, options);
}

// The text of an error without the folder's name.
std::string load_error(const std::string& content, const DataOptions& options = {}, int64_t vocab_size = kVocab) {
    try {
        load(content, options, vocab_size);
    } catch (const ggq::Error& error) {
        const std::string text = error.what();
        const size_t file = text.find("data.jsonl");
        return file == std::string::npos ? text : text.substr(file);
    }
    return "loaded";
}

// One letter a token: the letter itself, ^ for BOS, $ for EOS; in capitals or as they are where they carry loss.
std::string letters(const Sample& sample, bool with_loss_only = false) {
    std::string text;
    for (size_t i = 0; i < sample.ids.size(); ++i) {
        if (with_loss_only && !sample.has_loss[i]) continue;
        text += sample.ids[i] == kBos ? '^' : sample.ids[i] == kEos ? '$' : static_cast<char>(sample.ids[i]);
    }
    return text;
}

std::string labelled(const Sample& sample) { return letters(sample, true); }

DataOptions at_most(int64_t max_length, OnLong on_long) {
    DataOptions options;
    options.max_length = max_length;
    options.on_long = on_long;
    return options;
}

}  // namespace

TEST_CASE("dataset: alpaca form, with and without input") {
    const Dataset data = load(R"([{"instruction": "Add.", "input": "1 2", "output": "3"},
                                  {"instruction": "Say hi", "input": "", "output": "hi"},
                                  {"instruction": "Say ho", "output": "ho"}])");
    REQUIRE(data.train.size() == 3);
    CHECK(letters(data.train[0]) ==
          "^Below is an instruction that describes a task, paired with an input that provides further context. Write a "
          "response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### "
          "Response:\n3$");
    CHECK(letters(data.train[1]) ==
          "^Below is an instruction that describes a task. Write a response that appropriately completes the request."
          "\n\n### Instruction:\nSay hi\n\n### Response:\nhi$");
    CHECK(letters(data.train[1]) == "^" + ggq::alpaca_prompt("Say hi") + "hi$");
    CHECK(labelled(data.train[0]) == "3$");
    CHECK(labelled(data.train[2]) == "ho$");
    CHECK(data.report.forms == std::vector{ggq::Form::alpaca});
    CHECK(data.report.label_tokens == 8);
    CHECK(data.report.samples == 3);
    CHECK(data.report.missing_eos == 0);
}

TEST_CASE("dataset: the guides' shorter wording of alpaca") {
    DataOptions options;
    options.records.form = "alpaca-short";
    const Dataset data = load(R"([{"instruction": "Add.", "input": "1 2", "output": "3"},
                                  {"instruction": "Say hi", "input": "", "output": "hi"}])",
                              options);
    CHECK(letters(data.train[0]) == "^### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n3$");
    CHECK(letters(data.train[1]) == "^### Instruction:\nSay hi\n\n### Response:\nhi$");
    CHECK(labelled(data.train[0]) == "3$");
    CHECK(letters(data.train[1]) == "^" + ggq::alpaca_prompt("Say hi", "", ggq::Form::alpaca_short) + "hi$");
    CHECK(ggq::form_name(data.report.forms[0]) == "alpaca-short");
}

TEST_CASE("dataset: what the post-processor puts behind a text is not doubled, and bytes without a token are counted") {
    json file = ggq::test::byte_level_tokenizer();
    file["model"]["vocab"].erase("Z");
    file["added_tokens"] = {{{"id", 300}, {"content", "<s>"}, {"special", true}},
                            {{"id", 301}, {"content", "</s>"}, {"special", true}}};
    const Tokenizer tokenizer = ggq::test::make_tokenizer(
        file, {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"add_bos_token", true}, {"add_eos_token", true}});
    const TempDir folder;
    write_file(folder / "data.jsonl", "{\"text\": \"aZbZ\"}\n{\"text\": \"c</s>\"}");
    const Dataset data = load_dataset(folder / "data.jsonl", tokenizer, kVocab, {});
    CHECK(letters(data.train[0]) == "^ab$");
    CHECK(letters(data.train[1]) == "^c$");
    CHECK(data.report.bytes_without_token == 2);
    CHECK(data.report.records_without_token == 1);
}

TEST_CASE("dataset: a sample is shown without what a terminal would obey") {
    const Dataset data = load(R"({"text": "one\u0000two\u001b[31m\nx"})");
    const std::string text = show_sample(data.train[0], ggq::test::byte_tokenizer());
    CHECK(text.starts_with("<s>one\\u0000two\\u001b[31m\nx</s>\n--- "));
    CHECK(text.find('\0') == std::string::npos);
    CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("dataset: prompt and completion, plain text, and loss on the prompt") {
    const std::string pair = R"({"prompt": "ab", "completion": "cd"})";
    CHECK(labelled(load(pair).train[0]) == "cd$");
    DataOptions options;
    options.train_on_prompt = true;
    CHECK(labelled(load(pair, options).train[0]) == "abcd$");
    CHECK(labelled(load(R"({"text": "abc"})").train[0]) == "abc$");
    CHECK(labelled(load(R"({"prompt": "a", "completion": ""})").train[0]) == "$");
    options = {};
    options.records.text_field = "body";
    CHECK(letters(load(R"({"body": "abc", "instruction": "x", "output": "y"})", options).train[0]) == "^abc$");
    options = {};
    options.records.form = "text";
    CHECK(letters(load(R"({"text": "abc", "prompt": "x", "completion": "y"})", options).train[0]) == "^abc$");
}

TEST_CASE("dataset: a token that overlaps the answer carries loss, whatever its value") {
    const TempDir folder;
    // "ab" is one token, which reaches from the prompt into the answer.
    const Tokenizer tokenizer = ggq::test::make_tokenizer(ggq::test::spm_tokenizer(), {{"eos_token", "</s>"}});
    write_file(folder / "data.jsonl", R"({"prompt": "cd a", "completion": "b cd"})");
    const Dataset data = load_dataset(folder / "data.jsonl", tokenizer, 1000, {});
    Ids labels;
    for (size_t i = 0; i < data.train[0].ids.size(); ++i) {
        if (data.train[0].has_loss[i]) labels.push_back(data.train[0].ids[i]);
    }
    CHECK(labels == Ids{*tokenizer.id_of("▁ab"), *tokenizer.id_of("▁"), *tokenizer.id_of("cd"), 2});
}

TEST_CASE("dataset: BOM, CRLF, blank lines, limit") {
    const std::string lines = "\xEF\xBB\xBF{\"text\": \"a\"}\r\n\r\n{\"text\": \"b\"}\r\n  \n{\"text\": \"c\"}";
    const Dataset data = load(lines);
    REQUIRE(data.train.size() == 3);
    CHECK(letters(data.train[2]) == "^c$");
    DataOptions options;
    options.records.limit = 2;
    CHECK(load(lines, options).train.size() == 2);
    CHECK(load("\xEF\xBB\xBF[\r\n{\"text\": \"a\"},\r\n{\"text\": \"b\"}, {\"text\": \"c\"}]\r\n", options)
              .train.size() == 2);
}

TEST_CASE("dataset: BOS and EOS stand once, and doubles are counted") {
    const Dataset data = load("{\"text\": \"<s>a\"}\n{\"text\": \"b</s>\"}\n{\"text\": \"c\"}");
    CHECK(letters(data.train[0]) == "^a$");
    CHECK(letters(data.train[1]) == "^b$");
    CHECK(labelled(data.train[0]) == "a$");
    CHECK(data.report.double_bos == 1);
    CHECK(data.report.missing_eos == 0);
    CHECK(data.report.tokens == 9);
}

TEST_CASE("dataset: long samples") {
    const std::string text =
        "{\"prompt\": \"abc\", \"completion\": \"defg\"}\n{\"prompt\": \"x\", \"completion\": \"y\"}";
    const Dataset dropped = load(text, at_most(8, OnLong::drop));
    CHECK(dropped.train.size() == 1);
    CHECK(dropped.report.dropped == 1);
    CHECK(dropped.report.records == 2);
    CHECK(dropped.report.longest == 4);

    const Dataset left = load(text, at_most(6, OnLong::cut_left));
    CHECK(letters(left.train[0]) == "^defg$");
    CHECK(labelled(left.train[0]) == "defg$");
    CHECK(left.report.cut == 1);
    CHECK(left.report.missing_eos == 0);

    const Dataset right = load(text, at_most(6, OnLong::cut_right));
    CHECK(letters(right.train[0]) == "^abcde");
    CHECK(labelled(right.train[0]) == "de");
    CHECK(right.report.missing_eos == 1);

    const Dataset split = load(text, at_most(3, OnLong::split));
    CHECK(split.train.size() == 3);
    CHECK(letters(split.train[0]) == "cde");
    CHECK(labelled(split.train[0]) == "de");
    CHECK(labelled(split.train[1]) == "g$");
    CHECK(letters(split.train[2]) == "^xy");
    CHECK(split.report.without_label == 2);  // "^ab" and the lone "$" of the second sample
    CHECK(split.report.cut == 2);
    CHECK(split.report.missing_eos == 2);
    CHECK(split.train.size() == static_cast<size_t>(split.report.samples));
}

TEST_CASE("dataset: a share for validation, the same whatever else is chosen") {
    std::string lines;
    for (char c = 'a'; c <= 'z'; ++c) lines += std::string("{\"text\": \"") + c + "\"}\n";
    DataOptions options;
    options.val_split = 0.2;
    const Dataset data = load(lines, options);
    CHECK(data.validation.size() == 5);
    CHECK(data.train.size() == 21);
    std::string all;
    for (const auto* part : {&data.train, &data.validation}) {
        for (const Sample& sample : *part) all += static_cast<char>(sample.ids[1]);
    }
    std::sort(all.begin(), all.end());
    CHECK(all == "abcdefghijklmnopqrstuvwxyz");
    options.train_on_prompt = true;
    CHECK(load(lines, options).validation[0].ids == data.validation[0].ids);
}

TEST_CASE("dataset: the hash changes with ids, masks and borders") {
    const std::string pair = R"({"prompt": "ab", "completion": "cd"})";
    const uint64_t hash = load(pair).hash;
    CHECK(load(pair).hash == hash);
    CHECK(load(R"({"prompt": "abc", "completion": "d"})").hash != hash);
    CHECK(load(R"({"prompt": "ab", "completion": "ce"})").hash != hash);
    CHECK(load("{\"text\": \"ab\"}\n{\"text\": \"c\"}").hash != load("{\"text\": \"a\"}\n{\"text\": \"bc\"}").hash);
    // XXH64 over 3, then <s> a </s>, then the mask 0 1 1, worked out apart from this code.
    CHECK(load(R"({"text": "a"})").hash == 0x684d577669cd5b72u);
}

TEST_CASE("dataset: show_sample") {
    const Dataset data = load(R"({"prompt": "a", "completion": "b"})");
    CHECK(show_sample(data.train[0], ggq::test::byte_tokenizer()) ==
          "<s>ab</s>\n"
          "--- 4 tokens, 2 carry loss\n"
          "position      id  loss  token\n"
          "       0     300     -  <s>\n"
          "       1      97     -  a\n"
          "       2      98   yes  b\n"
          "       3     301   yes  </s>\n");
}

TEST_CASE("dataset: files that cannot be used are refused in one sentence") {
    CHECK(load_error("") == "data.jsonl: the file is empty, expected training samples");
    CHECK(load_error(" \n") == "data.jsonl: the file is empty, expected training samples");
    CHECK(load_error("[]") == "data.jsonl: expected training samples, got none");
    CHECK(load_error("{\"text\": \"a\"}\n{\"text\": b}").starts_with("data.jsonl: broken JSON on line 2: "));
    CHECK(load_error("[{\"text\": \"a\"},\n\n{\"text\" \"b\"}]").starts_with("data.jsonl: broken JSON on line 3: "));
    CHECK(load_error("{\"text\": \"a\"}\n{\"text\": \"\xC3(\"}") ==
          "data.jsonl: line 2 is not valid UTF-8 (byte 0xc3); save the file as UTF-8");
    CHECK(load_error(R"({"text": "\ud800"})").starts_with("data.jsonl: broken JSON on line 1: "));
    CHECK(load_error(R"({"question": "a", "answer": "b"})") ==
          "data.jsonl: line 1: unknown form of data: expected messages or conversations (chat), instruction and output "
          "(alpaca), prompt and completion, or text, got keys question, answer");
    CHECK(load_error("[1]").starts_with("data.jsonl: sample 1: expected an object with messages or conversations"));
    CHECK(load_error("{\"text\": \"a\"}\n{\"body\": \"b\"}") ==
          "data.jsonl: line 2: expected a field text (data of form text), got keys body");
    CHECK(load_error(R"({"text": 5})") == "data.jsonl: line 1: expected text to be a text, got number");
    CHECK(load_error(R"({"prompt": [], "completion": []})") == "data.jsonl: line 1: the conversation has no message");
    CHECK(load_error("version https://git-lfs.github.com/spec/v1\n").find("is a Git LFS pointer") != std::string::npos);
    const Tokenizer tokenizer = ggq::test::byte_tokenizer();
    CHECK_THROWS_WITH_AS(load_dataset("/no/such.json", tokenizer, kVocab, {}), "/no/such.json: no such file",
                         ggq::Error);
    CHECK_THROWS_WITH_AS(load_dataset("/tmp", tokenizer, kVocab, {}), "/tmp: expected a file, got a folder",
                         ggq::Error);
    const TempDir folder;
    write_file(folder / "data.parquet", "PAR1....");
    CHECK_THROWS_WITH_AS(load_dataset(folder / "data.parquet", tokenizer, kVocab, {}),
                         doctest::Contains("data.parquet is a Parquet file, which is not read here; convert it with: "
                                           "python3 -c \"import pandas; pandas.read_parquet('"),
                         ggq::Error);
    CHECK_THROWS_WITH_AS(load_dataset("x.parquet", tokenizer, kVocab, {}), "x.parquet: no such file", ggq::Error);
}

TEST_CASE("dataset: samples that cannot be trained on are refused") {
    CHECK(load_error(R"({"text": "abcdef"})", at_most(5, OnLong::drop)) ==
          "data.jsonl: every one of 1 samples is longer than 5 tokens (the shortest has 8); raise `max_length`, or let "
          "`on_long` cut or split them");
    CHECK(load_error(R"({"prompt": "abcdef", "completion": "x"})", at_most(5, OnLong::cut_right)) ==
          "data.jsonl: no sample has a token that carries loss (1 of 1 were left out for that)");
    CHECK(load_error(R"({"text": "a"})", {}, 300) ==
          "data.jsonl: line 1: token 300 ('<s>') is beyond the model's vocabulary of 300; tokenizer and model do not "
          "belong together");
    const Tokenizer no_eos = ggq::test::make_tokenizer(ggq::test::byte_level_tokenizer());
    const TempDir folder;
    write_file(folder / "data.jsonl", R"({"text": "a"})");
    CHECK_THROWS_WITH_AS(load_dataset(folder / "data.jsonl", no_eos, kVocab, {}),
                         doctest::Contains("the tokenizer names no eos_token"), ggq::Error);
}

TEST_CASE("dataset: options that make no sense are refused") {
    const std::string text = R"({"text": "a"})";
    DataOptions options;
    options.val_split = 0.3;
    CHECK(load_error(text, options).starts_with("a validation share of 0.3 of 1 records leaves 0 for validation"));
    options = {};
    options.records.form = "alpacca";
    CHECK(load_error(text, options) ==
          "template 'alpacca' is not known; known are alpaca|alpaca-short|completion|text|chat, and the chat templates "
          "chatml|llama2|llama3|mistral|vicuna|zephyr");
    options.records.form = "alpaca";
    CHECK(load_error(text, options) ==
          "data.jsonl: line 1: expected a field instruction (data of form alpaca), got keys text");
    options.records.text_field = "body";
    CHECK(load_error(text, options) == "text field 'body' is for plain text, but the template is alpaca");
}

// The samples of a file against a second way to the same: tokenize the whole text, find the answer in what is labelled.
static void check_file(const std::vector<ggq::Record>& records, const Dataset& set, const Tokenizer& tokenizer,
                       int64_t max_length) {
    size_t at = 0;
    for (const auto& record : records) {
        Ids whole = tokenizer.encode(render(record).text);
        if (whole.back() != tokenizer.eos_id()) whole.push_back(*tokenizer.eos_id());
        if (static_cast<int64_t>(whole.size()) > max_length) continue;
        REQUIRE(at < set.train.size());
        const Sample& sample = set.train[at++];
        CHECK(sample.ids == whole);
        Ids labels;
        for (size_t i = 0; i < sample.ids.size(); ++i) {
            if (sample.has_loss[i]) labels.push_back(sample.ids[i]);
        }
        // The first labelled token may reach back into the prompt, and a space in front is not decoded.
        const std::string answer =
            record.answer.substr(std::min(record.answer.find_first_not_of(" \n"), record.answer.size()));
        CHECK(tokenizer.decode(labels, false).find(answer) != std::string::npos);
    }
    CHECK(at == set.train.size());
}

TEST_CASE("dataset: real instruction data with a real tokenizer") {
    const auto root = ggq::test::fixtures();
    const fs::path data = root ? *root / "data/instruct" : fs::path();
    if (!fs::is_directory(data) || !fs::is_directory(*root / "golden"))
        return ggq::test::skipped("data/instruct is absent");
    int files = 0;
    for (const auto& model : fs::directory_iterator(*root / "golden")) {
        if (!fs::exists(model.path() / "model/tokenizer.json")) continue;
        const Tokenizer tokenizer = Tokenizer::load(model.path() / "model");
        DataOptions options;
        options.max_length = 2048;
        options.records.limit = 300;
        options.records.form = "alpaca";
        for (const auto& file : fs::directory_iterator(data)) {
            if (file.path().extension() != ".json") continue;
            CAPTURE(file.path().string());
            const Dataset set = load_dataset(file.path(), tokenizer, tokenizer.vocab_size(), options);
            check_file(ggq::read_records(file.path(), options.records), set, tokenizer, options.max_length);
            ++files;
        }
    }
    if (files == 0) ggq::test::skipped("data/instruct with a model's tokenizer is absent");
}
