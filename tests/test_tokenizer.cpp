// The tokenizer against the ids of the reference implementations, and each of its parts on small tokenizers made here.
#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "models/text/tokenizer.h"
#include "tests/fixtures.h"
#include "tests/small_tokenizers.h"
#include "tests/temp_dir.h"

using ggq::EncodeOptions;
using ggq::StreamDecoder;
using ggq::Token;
using ggq::Tokenizer;
using ggq::test::append_utf8;
using ggq::test::byte_level_tokenizer;
using ggq::test::make_tokenizer;
using ggq::test::spm_tokenizer;
using ggq::test::write_file;
using nlohmann::json;

namespace fs = std::filesystem;

namespace {

using Ids = std::vector<int32_t>;

Ids plain(const Tokenizer& tokenizer, const std::string& text) {
    return tokenizer.encode(text, {.add_special = false});
}

std::vector<std::string> spelled(const Tokenizer& tokenizer, const std::string& text) {
    std::vector<std::string> tokens;
    for (const int32_t id : plain(tokenizer, text)) tokens.push_back(tokenizer.token_of(id));
    return tokens;
}

using Spelled = std::vector<std::string>;

std::string streamed(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
    StreamDecoder stream(tokenizer, skip_special);
    std::string text;
    for (const int32_t id : ids) {
        const std::string more = stream.push(id);
        CHECK_FALSE(ggq::invalid_utf8(more));
        text += more;
    }
    return text + stream.flush();
}

// Loads a tokenizer with one part replaced and gives the error's text.
std::string load_error(json tokenizer, const std::string& pointer, const json& value) {
    tokenizer[json::json_pointer(pointer)] = value;
    try {
        make_tokenizer(tokenizer);
    } catch (const ggq::Error& error) {
        const std::string text = error.what();
        CHECK(text.find("tokenizer.json: ") != std::string::npos);
        return text.substr(text.find("tokenizer.json: ") + 16);
    }
    return "loaded";
}

void check_set(const json& set, const fs::path& folder, const Tokenizer& tokenizer) {
    const bool parse_special = set.at("parse_special_tokens");
    const EncodeOptions options{.add_special = set.at("bos_included"), .parse_special = parse_special};
    const std::string name = set.at("vectors");
    std::ifstream lines(folder / name);
    int count = 0;
    for (std::string line; std::getline(lines, line);) {
        const json row = json::parse(line);
        const std::string text = row["text"];
        CAPTURE(name);
        CAPTURE(text);
        const Ids ids = tokenizer.encode(text, options);
        CHECK(ids == row["ids"].get<Ids>());
        CHECK(tokenizer.decode(ids, !parse_special) == text);
        CHECK(streamed(tokenizer, ids, !parse_special) == text);
        ++count;
    }
    CHECK(count == set.at("count"));
}

}  // namespace

TEST_CASE("tokenizer: every id of the golden sets, and their texts back") {
    const auto root = ggq::test::fixtures();
    int n_sets = 0;
    std::map<std::string, Tokenizer> loaded;
    if (root && fs::is_directory(*root / "golden")) {
        for (const auto& folder : fs::directory_iterator(*root / "golden")) {
            if (!fs::exists(folder.path() / "index.json")) continue;
            const json index = json::parse(std::ifstream(folder.path() / "index.json"));
            for (const json& set : index.value("sets", json::array())) {
                if (!set.contains("tokenizer") || !set.contains("vectors")) continue;
                const std::string file = set.at("tokenizer");
                if (!loaded.contains(file)) loaded.emplace(file, Tokenizer::load(*root / file));
                check_set(set, folder.path(), loaded.at(file));
                ++n_sets;
            }
        }
    }
    if (n_sets == 0) ggq::test::skipped("golden/tokenizer is absent");
}

TEST_CASE("tokenizer: prompts and greedy texts of real models") {
    const auto root = ggq::test::fixtures();
    if (!root || !fs::is_directory(*root / "golden")) return ggq::test::skipped("golden/real-model is absent");
    int found = 0;
    for (const auto& entry : fs::directory_iterator(*root / "golden")) {
        if (!fs::exists(entry.path() / "greedy.json")) continue;
        const Tokenizer tokenizer = Tokenizer::load(entry.path() / "model");
        const json golden = json::parse(std::ifstream(entry.path() / "greedy.json"));
        for (const json& row : golden.at("greedy")) {
            CHECK(tokenizer.encode(row["prompt"].get<std::string>()) == row["prompt_ids"].get<Ids>());
            const Ids output = row["output_ids"];
            CHECK(tokenizer.decode(output) == row["text"].get<std::string>());
            CHECK(streamed(tokenizer, output, true) == row["text"].get<std::string>());
        }
        ++found;
    }
    if (found == 0) ggq::test::skipped("golden/real-model is absent");
}

TEST_CASE("tokenizer: SentencePiece style with byte fallback") {
    const Tokenizer tokenizer = make_tokenizer(spm_tokenizer());
    CHECK(spelled(tokenizer, "abcd") == Spelled{"▁", "abcd"});
    CHECK(spelled(tokenizer, "ab ab") == Spelled{"▁ab", "▁ab"});
    CHECK(spelled(tokenizer, "é漢") == Spelled{"▁", "é", "<0xE6>", "<0xBC>", "<0xA2>"});
    CHECK(plain(tokenizer, "").empty());
    CHECK(tokenizer.encode("") == Ids{1});

    SUBCASE("without bytes unknown characters are one <unk>") {
        json file = spm_tokenizer();
        file["model"]["byte_fallback"] = false;
        CHECK(spelled(make_tokenizer(file), "漢漢a漢") == Spelled{"▁", "<unk>", "a", "<unk>"});
        file["model"]["fuse_unk"] = false;
        CHECK(spelled(make_tokenizer(file), "漢漢") == Spelled{"▁", "<unk>", "<unk>"});
        file["model"].erase("unk_token");
        CHECK(spelled(make_tokenizer(file), "a漢b") == Spelled{"▁ab"});  // dropped, and what is left merges
        CHECK(make_tokenizer(file).encode_open("a漢b").n_dropped == 3);
    }
    SUBCASE("Metaspace is the same, done by the pre-tokenizer") {
        json file = spm_tokenizer();
        file["normalizer"] = nullptr;
        file["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}};
        CHECK(spelled(make_tokenizer(file), "ab ab<s>ab") == Spelled{"▁ab", "▁ab", "<s>", "ab"});
        file["pre_tokenizer"]["prepend_scheme"] = "always";
        CHECK(spelled(make_tokenizer(file), " ab<s>ab") == Spelled{"▁ab", "<s>", "▁ab"});
        file["pre_tokenizer"]["prepend_scheme"] = "never";
        CHECK(spelled(make_tokenizer(file), "ab ab") == Spelled{"ab", "▁ab"});
        file["decoder"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}};
        const Tokenizer metaspace = make_tokenizer(file);
        CHECK(metaspace.decode(Ids{*metaspace.id_of("▁ab"), *metaspace.id_of("▁ab")}) == "ab ab");
    }
}

TEST_CASE("tokenizer: offsets are bytes of the original text") {
    const Tokenizer spm = make_tokenizer(spm_tokenizer());
    const auto tokens = spm.encode_with_offsets("é ab漢");
    const auto id = [&](const char* token) { return *spm.id_of(token); };
    CHECK(tokens == std::vector<Token>{{1, 0, 0},
                                       {id("▁"), 0, 0},
                                       {id("é"), 0, 2},
                                       {id("▁ab"), 2, 5},
                                       {id("<0xE6>"), 5, 6},
                                       {id("<0xBC>"), 6, 7},
                                       {id("<0xA2>"), 7, 8}});
    const Tokenizer bytes = make_tokenizer(byte_level_tokenizer());
    CHECK(bytes.encode_with_offsets("he he") == std::vector<Token>{{256, 0, 2}, {257, 2, 5}});
}

TEST_CASE("tokenizer: byte level with its expression, ignore_merges and both spellings of merges") {
    json file = byte_level_tokenizer();
    CHECK(spelled(make_tokenizer(file), "he he hello 12") == Spelled{"he", "Ġhe", "Ġhe", "ll", "o", "Ġ", "1", "2"});
    CHECK(spelled(make_tokenizer(file), "hello") == Spelled{"hell", "o"});
    file["model"]["ignore_merges"] = true;
    CHECK(spelled(make_tokenizer(file), "hello") == Spelled{"hello"});
    file["model"]["merges"] = {"h e", "Ġ he", "l l", "he ll"};
    CHECK(spelled(make_tokenizer(file), "hellhe") == Spelled{"hell", "he"});
    file["pre_tokenizer"]["add_prefix_space"] = true;
    CHECK(spelled(make_tokenizer(file), "he") == Spelled{"Ġhe"});
}

TEST_CASE("tokenizer: pre-tokenizers") {
    const auto words = [](const json& pre_tokenizer, const std::string& text) {
        const ggq::SplitText result = ggq::PreTokenizer(pre_tokenizer).split(ggq::AlignedText(text, {0, text.size()}));
        Spelled parts;
        for (const auto& range : result.ranges) parts.emplace_back(result.text.part(range));
        return parts;
    };
    const auto split = [](const std::string& behavior, bool invert = false) {
        return json{{"type", "Split"}, {"pattern", {{"String", "-"}}}, {"behavior", behavior}, {"invert", invert}};
    };
    CHECK(words(split("Isolated"), "a--b-") == Spelled{"a", "-", "-", "b", "-"});
    CHECK(words(split("Removed"), "a--b-") == Spelled{"a", "b"});
    CHECK(words(split("Removed", true), "a--b-") == Spelled{"-", "-", "-"});
    CHECK(words(split("MergedWithPrevious"), "-a--b") == Spelled{"-", "a-", "-", "b"});
    CHECK(words(split("MergedWithNext"), "a--b-") == Spelled{"a", "-", "-b", "-"});
    CHECK(words(split("Contiguous"), "a--b-") == Spelled{"a", "--", "b", "-"});
    CHECK(words({{"type", "Digits"}, {"individual_digits", true}}, "ab12") == Spelled{"ab", "1", "2"});
    CHECK(words({{"type", "Digits"}, {"individual_digits", false}}, "ab12") == Spelled{"ab", "12"});
    CHECK(words({{"type", "Whitespace"}}, "it's  me") == Spelled{"it", "'", "s", "me"});
    CHECK(words({{"type", "WhitespaceSplit"}}, "it's  me") == Spelled{"it's", "me"});
    CHECK(words({{"type", "Sequence"}, {"pretokenizers", {split("Removed"), {{"type", "Digits"}}}}}, "a-b1") ==
          Spelled{"a", "b", "1"});
}

TEST_CASE("tokenizer: added tokens") {
    json file = byte_level_tokenizer();
    const auto add = [&](int id, const char* content, json flags) {
        flags.update({{"id", id}, {"content", content}});
        file["added_tokens"].push_back(flags);
    };
    const json exact = {{"special", true}, {"normalized", false}};
    add(300, "<x>", exact);
    add(301, "<x>y", exact);
    add(302, "<l>", {{"lstrip", true}, {"normalized", false}});
    add(303, "<r>", {{"rstrip", true}, {"normalized", false}});
    add(304, "cat", {{"single_word", true}, {"normalized", false}});
    const Tokenizer tokenizer = make_tokenizer(file);
    CHECK(plain(tokenizer, "a<x>b") == Ids{'a', 300, 'b'});
    CHECK(plain(tokenizer, "<x>yz") == Ids{301, 'z'});
    CHECK(plain(tokenizer, "a \n<l> b") == Ids{'a', 302, ' ', 'b'});
    CHECK(plain(tokenizer, "a <r> \tb") == Ids{'a', ' ', 303, 'b'});
    CHECK(plain(tokenizer, "cat cats") == Ids{304, ' ', 'c', 'a', 't', 's'});
    CHECK(plain(tokenizer, "écat") == Ids{0xC3, 0xA9, 'c', 'a', 't'});
    CHECK(tokenizer.encode("<x><r>", {.add_special = false, .parse_special = false}) == Ids{'<', 'x', '>', 303});
    CHECK(tokenizer.is_special(300));
    CHECK_FALSE(tokenizer.is_special(303));
    CHECK(tokenizer.decode(Ids{'a', 300, 303}) == "a<r>");
    CHECK(tokenizer.decode(Ids{'a', 300, 303}, false) == "a<x><r>");
    CHECK(tokenizer.vocab_size() == 305);
    CHECK_THROWS_WITH_AS(tokenizer.decode(Ids{305}), "token id 305 is outside the tokenizer's vocabulary of 305",
                         ggq::Error);

    json normalized = spm_tokenizer();
    normalized["added_tokens"].push_back({{"id", 400}, {"content", "zz"}, {"normalized", true}});
    const auto tokens = make_tokenizer(normalized).encode_with_offsets("zz ab", {.add_special = false});
    CHECK(tokens.front() == Token{400, 0, 2});
    CHECK(tokens.back().end == 5);
}

TEST_CASE("tokenizer: normalizer Strip and a regular expression to replace") {
    json file = byte_level_tokenizer();
    file["normalizer"] = {{"type", "Sequence"},
                          {"normalizers",
                           {{{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}},
                            {{"type", "Replace"}, {"pattern", {{"Regex", "[0-9]+"}}}, {"content", "#"}}}}};
    const auto tokens = make_tokenizer(file).encode_with_offsets("\u3000 a123b ");
    CHECK(tokens == std::vector<Token>{{'a', 4, 5}, {'#', 5, 8}, {'b', 8, 9}});
}

TEST_CASE("tokenizer: streaming never gives broken UTF-8") {
    const Tokenizer bytes = make_tokenizer(byte_level_tokenizer());
    StreamDecoder stream(bytes);
    CHECK(stream.push(0xE6) == "");
    CHECK(stream.push(0xBC) == "");
    CHECK(stream.push(0xA2) == "漢");
    CHECK(stream.push(0xF0) == "");
    CHECK(stream.push('a') == "\uFFFDa");
    CHECK(stream.push(0xFF) == "\uFFFD");
    CHECK(stream.push(0xC3) == "");
    CHECK(stream.flush() == "\uFFFD");
    CHECK(stream.flush() == "");

    const Tokenizer spm = make_tokenizer(spm_tokenizer());
    const Ids ids = spm.encode("é漢ab");
    CHECK(streamed(spm, ids, true) == "é漢ab");
    CHECK(spm.decode(Ids{*spm.id_of("<0xE6>"), *spm.id_of("a")}) == "\uFFFDa");
    StreamDecoder continued(spm, true, true);
    CHECK(continued.push(*spm.id_of("▁ab")) == " ab");
    StreamDecoder fresh(spm);
    CHECK(fresh.push(1) == "");
    CHECK(fresh.push(*spm.id_of("▁ab")) == "ab");
    CHECK(fresh.push(*spm.id_of("▁ab")) == " ab");
}

TEST_CASE("tokenizer: bos, eos and pad from the files beside it") {
    const Tokenizer bare = make_tokenizer(spm_tokenizer());
    CHECK_FALSE(bare.bos_id());
    CHECK_FALSE(bare.eos_id());
    const json names = {{"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}}}, {"pad_token", "<unk>"}};
    const Tokenizer named = make_tokenizer(spm_tokenizer(), names);
    CHECK(named.bos_id() == 1);
    CHECK(named.eos_id() == 2);
    CHECK_FALSE(bare.is_special(0));
    CHECK(named.is_special(0));  // pad
    CHECK(named.encode("").size() == 1);

    const auto encoded = [&](const json& flags) {
        json config = names;
        config.update(flags);
        return make_tokenizer(spm_tokenizer(), config).encode("");
    };
    CHECK(encoded({{"add_bos_token", false}}).empty());
    CHECK(encoded({{"add_bos_token", true}}) == Ids{1});
    CHECK(encoded({{"add_eos_token", true}}) == Ids{1, 2});
    json no_template = spm_tokenizer();
    no_template["post_processor"] = nullptr;
    json config = names;
    config["tokenizer_class"] = "LlamaTokenizerFast";
    CHECK(make_tokenizer(no_template, config).encode("") == Ids{1});

    const ggq::test::TempDir folder;
    write_file(folder / "tokenizer.json", spm_tokenizer().dump());
    write_file(folder / "config.json", R"({"bos_token_id": 1, "eos_token_id": [2, 5]})");
    CHECK(Tokenizer::load(folder.path()).eos_id() == 2);
}

TEST_CASE("tokenizer: files that cannot be used are refused in one sentence") {
    const ggq::test::TempDir folder;
    const auto loading = [&] { return Tokenizer::load(folder.path()); };
    CHECK_THROWS_WITH_AS(loading(),
                         doctest::Contains("no such file, nor tokenizer.model; a model folder needs its tokenizer"),
                         ggq::Error);
    write_file(folder / "tokenizer.json", "{\"model\":\n{\"vocab\" 1}}");
    CHECK_THROWS_WITH_AS(loading(), doctest::Contains("broken JSON on line 2"), ggq::Error);
    write_file(folder / "tokenizer.json", "version https://git-lfs.github.com/spec/v1\n");
    CHECK_THROWS_WITH_AS(loading(), doctest::Contains("is a Git LFS pointer"), ggq::Error);
    write_file(folder / "tokenizer.json", "{\"a\": \"\xFF\"}");
    CHECK_THROWS_WITH_AS(loading(), doctest::Contains("line 1 is not valid UTF-8"), ggq::Error);
    write_file(folder / "tokenizer.json", "[]");
    CHECK_THROWS_WITH_AS(loading(), doctest::Contains("expected an object with a model"), ggq::Error);
}

TEST_CASE("tokenizer: components that are not known are refused by name") {
    const json file = spm_tokenizer();
    CHECK(load_error(file, "/model/type", "WordLevel") ==
          "model of type WordLevel is not supported; supported are BPE and Unigram");
    CHECK(load_error(file, "/normalizer", {{"type", "Lowercase"}})
              .starts_with("normalizer of type Lowercase is not supported"));
    CHECK(load_error(file, "/pre_tokenizer", {{"type", "Bert"}}).starts_with("pre_tokenizer of type Bert is not"));
    CHECK(load_error(file, "/decoder", {{"type", "CTC"}}).starts_with("decoder of type CTC is not supported"));
    CHECK(load_error(file, "/post_processor", {{"type", "Roberta"}}).starts_with("post_processor of type Roberta"));
    CHECK(
        load_error(file, "/post_processor/single", json::array()).ends_with("expected a Sequence in single, got none"));
    CHECK(load_error(file, "/decoder/decoders/2", {{"type", "Metaspace"}}) ==
          "decoder: only Fuse may follow ByteFallback, got Metaspace");
    CHECK(
        load_error(file, "/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}})
            .starts_with("regular expression '(' is not valid at byte 1"));
    CHECK(load_error(file, "/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Odd"}}) ==
          "pre_tokenizer Split: behavior Odd is not known");
    CHECK(load_error(file, "/pre_tokenizer", {{"type", "Sequence"}}).starts_with("not the form of a tokenizer.json"));
    CHECK(load_error(file, "/model/dropout", 0.1) == "model: BPE dropout 0.1 is not supported");
    CHECK(load_error(file, "/model/end_of_word_suffix", "</w>").ends_with("\"</w>\" is not supported"));
    CHECK(load_error(file, "/model/merges/0", "a x") == "model: token 'x' of merge \"a x\" is not in the vocab");
    CHECK(load_error(file, "/model/merges/0", 5).ends_with("got 5"));
    for (const json& id :
         {json(-4), json(5.0), json(5.5), json(uint64_t{1} << 31), json(uint64_t{1} << 40), json("5")}) {
        const std::string expected = "id of token 'a': expected a whole number of 0 to 2147483646, got " + id.dump();
        CHECK(load_error(file, "/model/vocab/a", id) == expected);
        CHECK(load_error(file, "/added_tokens/0/id", id).ends_with("0 to 2147483646, got " + id.dump()));
        CHECK(load_error(file, "/post_processor/special_tokens/<s>/ids/0", id).ends_with("got " + id.dump()));
    }
    CHECK(load_error(file, "/model/vocab/a", 2147483646) == "loaded");
    CHECK(load_error(file, "/model/vocab/a", 2).find("id 2 has two tokens") != std::string::npos);
    CHECK(load_error(file, "/added_tokens/0/id", 7).find("has two ids, 1 and 7") != std::string::npos);
}

TEST_CASE("tokenizer: bytes that the vocabulary lacks are dropped and counted") {
    json file = byte_level_tokenizer();
    for (const int byte : {0x16, 0xC3}) {
        for (auto entry = file["model"]["vocab"].begin(); entry != file["model"]["vocab"].end(); ++entry)
            if (entry.value() == byte) {
                file["model"]["vocab"].erase(entry);
                break;
            }
    }
    const Tokenizer tokenizer = make_tokenizer(file);
    const ggq::OpenText open = tokenizer.encode_open(
        "he\x16"
        "e \x16");
    CHECK(open.tokens == std::vector<Token>{{256, 0, 2}, {'e', 3, 4}, {' ', 4, 5}});
    CHECK(open.n_dropped == 2);
    CHECK(tokenizer.encode_open("é").tokens == std::vector<Token>{{0xA9, 1, 2}});
    CHECK(tokenizer.encode_open("\x16").tokens.empty());
    CHECK(tokenizer.encode_open("he").n_dropped == 0);
}

TEST_CASE("tokenizer: 300,000 added tokens with one beginning take no longer than few") {
    std::vector<ggq::AddedToken> tokens;
    for (int id = 0; id < 300'000; ++id)
        tokens.push_back({.id = id, .content = fmt::format("<|reserved_{:06}|>", id), .special = true});
    const ggq::AddedTokens added(std::move(tokens));
    std::string text;
    for (int i = 0; i < 40'000; ++i) text += "<|reserved_<|reserved_000007|>";
    const auto parts = added.split(text, true);
    CHECK(parts.size() == 80'000);
    CHECK(parts[1].id == 7);
    CHECK(added.split(text, false).size() == 1);
    std::vector<ggq::AddedToken> nested;  // each the beginning of the next
    for (size_t n = 1; n <= 1000; ++n)
        nested.push_back({.id = static_cast<int32_t>(n), .content = std::string(n, 'a')});
    const auto longest = ggq::AddedTokens(std::move(nested)).split(std::string(1500, 'a') + "b", true);
    CHECK(longest.size() == 3);
    CHECK(longest[1].id == 500);
}

TEST_CASE("tokenizer: an expression for which a text is too much is named with its file, when loading too") {
    const json slow = {{"type", "Replace"}, {"pattern", {{"Regex", "(a+)+$"}}}, {"content", "b"}};
    json file = spm_tokenizer();
    file["normalizer"] = slow;
    const std::string text = std::string(64, 'a') + "b";
    constexpr const char* kReason =
        "/tokenizer.json: regular expression '(a+)+$' failed at byte 0 of a text of 65 bytes: ";
    CHECK_THROWS_WITH_AS(plain(make_tokenizer(file), text), doctest::Contains(kReason), ggq::Error);
    file["added_tokens"].push_back({{"id", 300}, {"content", text}, {"normalized", true}});
    CHECK_THROWS_WITH_AS(make_tokenizer(file), doctest::Contains(kReason), ggq::Error);
}

TEST_CASE("tokenizer: parts that multiply text or work are refused") {
    const json file = spm_tokenizer();
    const auto replace = [](const char* from, const std::string& to) {
        return json{{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
    };
    json chain = {{"type", "Sequence"}, {"normalizers", json::array()}};
    for (int i = 0; i < 20; ++i) chain["normalizers"].push_back(replace("a", "aa"));
    json grows = file;
    grows["normalizer"] = chain;
    CHECK_THROWS_WITH_AS(
        plain(make_tokenizer(grows), std::string(1000, 'a')),
        doctest::Contains(
            "/tokenizer.json: normalizer Replace: makes 32000 bytes of text out of 16000; expected at most 17024"),
        ggq::Error);
    grows["normalizer"] = replace("", "xyz");  // as the tokenizers library: at every place
    CHECK(make_tokenizer(grows).encode("ab").size() > 10);
    CHECK(load_error(file, "/normalizer", replace("a", std::string(300, 'b'))) ==
          "normalizer Replace: expected content of at most 256 bytes, got 300");
    CHECK(load_error(file, "/normalizer", {{"type", "Prepend"}, {"prepend", std::string(300, 'b')}}) ==
          "normalizer Prepend: expected prepend of at most 256 bytes, got 300");
    json many = {{"type", "Sequence"}, {"pretokenizers", json::array()}};
    for (int i = 0; i < 65; ++i) many["pretokenizers"].push_back({{"type", "Digits"}});
    CHECK(load_error(file, "/pre_tokenizer", many) == "pre_tokenizer: expected at most 64 parts, got more");
    CHECK(load_error(file, "/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", std::string(9, '_')}}) ==
          "pre_tokenizer Metaspace: expected a replacement of one character, got '_________'");
    CHECK(load_error(file, "/decoder/decoders/3/start", 1ull << 40).find("at most 64 times") != std::string::npos);
    CHECK(load_error(file, "/decoder/decoders/0", replace("a", std::string(256, 'b'))) == "loaded");
    CHECK(load_error(file, "/model/vocab/" + std::string(20, 'a'), 400) == "loaded");
    json long_token = file;
    long_token["model"]["vocab"][std::string(20, 'a')] = 400;
    CHECK(load_error(long_token, "/decoder/decoders/0", replace("a", std::string(256, 'b'))) ==
          "decoder: makes 5120 bytes of token 'aaaaaaaaaaaaaaaaaaaa', expected at most 576");
    std::string deep;
    for (int i = 0; i < 8000; ++i) deep += R"({"type": "Sequence", "pretokenizers": [)";
    const ggq::test::TempDir folder;
    write_file(folder / "tokenizer.json", R"({"model": {}, "pre_tokenizer": )" + deep);
    CHECK_THROWS_WITH_AS(Tokenizer::load(folder.path()), doctest::Contains("nested"), ggq::Error);
}

TEST_CASE("tokenizer: long words and broken text") {
    const Tokenizer tokenizer = make_tokenizer(spm_tokenizer());
    std::string text;
    for (int i = 0; i < 50000; ++i) text += "abcd";
    CHECK(plain(tokenizer, text).size() == 50001);
    CHECK_THROWS_WITH_AS(tokenizer.encode("ab\xC3"), "text to tokenize: byte 2 of 3 is not valid UTF-8", ggq::Error);
    CHECK(spelled(make_tokenizer(byte_level_tokenizer()), std::string(100000, ' ')).size() == 100000);
}

TEST_CASE("utf8: what is valid, and where it stops being so") {
    for (const char* valid :
         {"", "a", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
        CHECK_FALSE(ggq::invalid_utf8(valid));
        if (*valid == 0) continue;
        std::string again;
        append_utf8(again, ggq::utf8_code_point(valid, 0));
        CHECK(again == valid);
        CHECK(ggq::utf8_previous(valid, again.size()) == 0);
    }
    for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                            "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE6\xBC", "\xC3("}) {
        CHECK(ggq::invalid_utf8(std::string("ab") + bad) == 2);
    }
    ggq::Utf8Stream stream;
    CHECK(stream.push("\xF0\x90\x80") == "");
    CHECK(stream.push("a\xED\xA0") == "\uFFFDa\uFFFD\uFFFD");
}
