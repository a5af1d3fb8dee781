// Vocabularies of other forms than tokenizer.json: SentencePiece models, tiktoken's ranks; and Unicode's normal forms.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "models/text/tokenizer.h"
#include "models/text/unicode_form.h"
#include "tests/fixtures.h"
#include "tests/piece_files.h"
#include "tests/small_tokenizers.h"
#include "tests/temp_dir.h"

using ggq::Token;
using ggq::Tokenizer;
using ggq::test::PieceFile;
using ggq::test::TempDir;
using ggq::test::write_file;
using nlohmann::json;

namespace fs = std::filesystem;

namespace {

using Ids = std::vector<int32_t>;
using Spelled = std::vector<std::string>;

Tokenizer load_model(const std::string& file, const json& config = nullptr) {
    const TempDir folder;
    write_file(folder / "tokenizer.model", file);
    if (!config.is_null()) write_file(folder / "tokenizer_config.json", config.dump());
    return Tokenizer::load(folder.path());
}

std::string load_error(const std::string& file) {
    try {
        load_model(file);
    } catch (const ggq::Error& error) {
        const std::string text = error.what();
        return text.substr(text.find("tokenizer.model: ") + 17);
    }
    return "loaded";
}

Spelled spelled(const Tokenizer& tokenizer, const std::string& text) {
    Spelled tokens;
    for (const int32_t id : tokenizer.encode(text, {.add_special = false})) tokens.push_back(tokenizer.token_of(id));
    return tokens;
}

std::optional<fs::path> data_folder(const char* needed) {
    const auto root = ggq::test::fixtures();
    if (root && fs::exists(*root / "data" / needed)) return *root / "data";
    ggq::test::skipped("data/" + std::string(needed) + " is absent");
    return std::nullopt;
}

void check_lines(const fs::path& file, const Tokenizer& tokenizer) {
    std::ifstream lines(file);
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count) {
        const json row = json::parse(line);
        const std::string text = row["text"];
        CAPTURE(text);
        const Ids ids = tokenizer.encode(text, {.add_special = false, .parse_special = false});
        CHECK(ids == row["ids"].get<Ids>());
    }
    CHECK(count > 0);
}

PieceFile small_bpe() {
    PieceFile file;
    file.add("<unk>", 0, 2).add("<s>", 0, 3).add("</s>", 0, 3);
    for (int byte = 0; byte < 256; ++byte) file.add(fmt::format("<0x{:02X}>", byte), 0, 6);
    float score = -1;
    for (const char* piece : {"ab", "▁ab", "abab", "▁", "a", "b", "c", "é"}) file.add(piece, score--);
    return file;
}

}  // namespace

TEST_CASE("vocabularies: SentencePiece's own ids of a unigram model with a character map") {
    const auto data = data_folder("tokenizers/small/spm_unigram_2000.model");
    if (!data) return;
    const Tokenizer tokenizer = Tokenizer::load(*data / "tokenizers/small/spm_unigram_2000.model");
    check_lines(*data / "tokenizer-vectors/spm_unigram_2000_reference.jsonl", tokenizer);
    CHECK(tokenizer.bos_id() == 1);
    CHECK(tokenizer.eos_id() == 2);
    CHECK(tokenizer.encode("ﬁ ²") == tokenizer.encode("fi  2 "));  // by its map; extra spaces go
    CHECK(tokenizer.encode("a").front() == 1);
}

TEST_CASE("vocabularies: Llama 3's original ranks give what its tokenizer.json gives, special tokens too") {
    const auto data = data_folder("tokenizers/llama3/tokenizer.model");
    if (!data) return;
    const Tokenizer ranks = Tokenizer::load(*data / "tokenizers/llama3/tokenizer.model");
    const Tokenizer reference = Tokenizer::load(*data / "tokenizers/llama3/tokenizer.json");
    CHECK(ranks.vocab_size() == reference.vocab_size());
    CHECK(ranks.encode("a").front() == 128000);
    CHECK(ranks.eos_id() == 128001);
    for (int32_t id = 0; id < ranks.vocab_size(); ++id) CHECK(ranks.token_of(id) == reference.token_of(id));
    const std::string chat = "<|start_header_id|>user<|end_header_id|>\n\nIt's 1234 漢字!<|eot_id|><|python_tag|>";
    CHECK(ranks.encode(chat, {.add_special = false}) == reference.encode(chat, {.add_special = false}));
    CHECK(ranks.decode(ranks.encode(chat), false) == "<|begin_of_text|>" + chat);
    check_lines(*data / "tokenizer-vectors/llama3_bpe_reference.jsonl", ranks);
}

TEST_CASE("vocabularies: a SentencePiece model of BPE, its prefix, bytes, and special tokens") {
    const Tokenizer tokenizer = load_model(small_bpe().bpe().bytes_for_unknown().keep_spaces().text());
    CHECK(spelled(tokenizer, "ab ab") == Spelled{"▁ab", "▁ab"});
    CHECK(spelled(tokenizer, " ab") == Spelled{"▁", "▁ab"});
    CHECK(spelled(tokenizer, "abab") == Spelled{"▁ab", "ab"});  // the highest score first, not the longest piece
    CHECK(spelled(tokenizer, "é漢") == Spelled{"▁", "é", "<0xE6>", "<0xBC>", "<0xA2>"});
    CHECK(tokenizer.encode("") == Ids{1});
    CHECK(tokenizer.eos_id() == 2);
    CHECK(tokenizer.is_special(0));
    CHECK(tokenizer.decode(tokenizer.encode(" ab 漢")) == " ab 漢");
    CHECK(spelled(tokenizer, "ab<s>ab") == Spelled{"▁ab", "<s>", "ab"});
    CHECK(spelled(load_model(small_bpe().bpe().bytes_for_unknown().text(), {{"legacy", true}}), "ab<s>ab") ==
          Spelled{"▁ab", "<s>", "▁ab"});
    CHECK(load_model(small_bpe().bpe().text(), {{"add_bos_token", false}}).encode("").empty());
    CHECK(spelled(load_model(small_bpe().bpe().text(), {{"add_prefix_space", false}}), "ab") == Spelled{"ab"});
    CHECK(spelled(load_model(small_bpe().bpe().text()), "漢漢a") == Spelled{"▁", "<unk>", "a"});
    CHECK(spelled(load_model(small_bpe().bpe().text()), "  ab  ab ") == Spelled{"▁ab", "▁ab"});
    CHECK(load_model(small_bpe().bpe().text()).encode("   ") == Ids{1});
    CHECK(spelled(load_model(small_bpe().bpe().no_prefix().text()), "ab ab") == Spelled{"ab", "▁ab"});
}

TEST_CASE("vocabularies: of pieces with one score the leftmost pair merges, unused ones never") {
    PieceFile file;
    file.add("<unk>", 0, 2).add("aa", -1).add("a", -2).add("▁", -3).add("▁aa", -1, 5);
    CHECK(spelled(load_model(file.bpe().text()), "aaa") == Spelled{"▁", "aa", "a"});
}

TEST_CASE("vocabularies: user-defined pieces are whole, wherever they stand") {
    PieceFile file = small_bpe();
    file.add("bab", 0, 4).add("▁▁", 0, 4);
    const Tokenizer tokenizer = load_model(file.bpe().bytes_for_unknown().keep_spaces().text());
    CHECK(spelled(tokenizer, "ababab") == Spelled{"▁", "a", "bab", "ab"});
    CHECK(spelled(tokenizer, " ab") == Spelled{"▁▁", "ab"});
    CHECK_FALSE(tokenizer.is_special(*tokenizer.id_of("bab")));
    CHECK(tokenizer.decode(tokenizer.encode("a   bab")) == "a   bab");
    CHECK(tokenizer.encode_with_offsets("abab", {.add_special = false}).back() == Token{*tokenizer.id_of("bab"), 1, 4});
}

TEST_CASE("vocabularies: a unigram model takes the way of the greatest sum") {
    PieceFile file;
    file.add("<unk>", 0, 2).add("<s>", 0, 3).add("</s>", 0, 3);
    file.add("▁", -2).add("a", -3).add("b", -3).add("ab", -5).add("abc", -20).add("c", -4).add("▁a", -4);
    const Tokenizer tokenizer = load_model(file.text());
    CHECK(spelled(tokenizer, "abc") == Spelled{"▁", "ab", "c"});
    CHECK(spelled(tokenizer, "a") == Spelled{"▁a"});
    CHECK(spelled(tokenizer, "漢字a") == Spelled{"▁", "<unk>", "a"});
    CHECK(tokenizer.encode_with_offsets("b漢字", {.add_special = false}).back() == Token{0, 1, 7});
    std::string text;
    for (int i = 0; i < 50'000; ++i) text += "abc";
    CHECK(tokenizer.encode(text).size() == 100'002);

    json listed = {{"model",
                    {{"type", "Unigram"},
                     {"unk_id", 0},
                     {"vocab", json::parse(R"([["<unk>", 0], ["a", -3], ["b", -3.5], ["ab", -6.4]])")}}}};
    CHECK(spelled(ggq::test::make_tokenizer(listed), "abxb") == Spelled{"ab", "<unk>", "b"});
    listed["model"]["vocab"][3][1] = -6.6;
    CHECK(spelled(ggq::test::make_tokenizer(listed), "ab") == Spelled{"a", "b"});
}

TEST_CASE("vocabularies: tiktoken's ranks") {
    const std::string ranks = "YQ== 0\nYg== 1\nIA== 2\nYWI= 3\nIGE= 4\nIGFi 5\n5g== 6\n";  // a b " " ab " a" " ab" \xE6
    const Tokenizer tokenizer = load_model(ranks);
    CHECK(tokenizer.encode("ab ab") == Ids{3, 5});
    CHECK(tokenizer.encode("abab") == Ids{3, 3});
    CHECK(tokenizer.token_of(5) == "Ġab");
    CHECK(tokenizer.token_of(6) == "æ");
    CHECK_FALSE(tokenizer.bos_id());
    CHECK(tokenizer.decode(Ids{3, 5}) == "ab ab");
    const json config = {{"bos_token", "<x>"},
                         {"added_tokens_decoder", {{"7", {{"content", "<x>"}, {"special", true}}}}}};
    CHECK(load_model(ranks, config).encode("ab<x>") == Ids{7, 3, 7});
    const auto data = data_folder("tokenizers/small/tiktoken_2000.model");
    if (!data) return;
    const Tokenizer small = Tokenizer::load(*data / "tokenizers/small/tiktoken_2000.model");
    CHECK(small.vocab_size() == 2000);
    const std::string text = "It's 12345 漢字, naïve\n\n  end";
    CHECK(small.decode(small.encode(text)) == text);
}

TEST_CASE("vocabularies: files that cannot be used are refused in one sentence") {
    CHECK(load_error("") == "expected tokens and their ranks, the file is empty");
    CHECK(load_error("x").find("line 1: expected a token in base64 and its rank") == 0);
    CHECK(load_error("YQ== 0\nYg== 0\n") == "line 2: its token or its rank 0 was there before");
    CHECK(load_error("YQ== 0\nYQ== 1\n") == "line 2: its token or its rank 1 was there before");
    CHECK(load_error("YQ== 99999999\n").find("rank of 0 to 16777216") != std::string::npos);
    CHECK(load_error("version https://git-lfs.github.com/spec/v1\n").find("Git LFS pointer") != std::string::npos);
    const std::string file = small_bpe().bpe().text();
    CHECK(load_error(file.substr(0, file.size() - 1)).find("bytes expected") != std::string::npos);
    CHECK(load_error("\n\x7f").find("broken Protocol Buffers message: 127 bytes expected, 0 are left") == 0);
    CHECK(load_error(PieceFile().add("a", 0, 9).text()) == "piece 'a': expected a type of 1 to 6, got 9");
    CHECK(load_error(PieceFile().add("a", INFINITY).text()) == "piece 'a': its score is no finite number");
    CHECK(load_error(PieceFile().add("\xFF", 0).text()) == "piece '\\xff': expected a text in UTF-8");
    CHECK(load_error(PieceFile().add("a", 0).model_type(4).text()).find("model_type 4 is not supported") == 0);
    CHECK(load_error(PieceFile().add("a", 0).map("\x04").text()) == "character map: expected 4 bytes or more, got 1");
    CHECK(load_error(PieceFile().add(std::string(70'000, 'a'), 0).bpe().text()).find("tokens are too long") !=
          std::string::npos);
}

TEST_CASE("vocabularies: Unicode's normal forms, with offsets of the original") {
    json file = ggq::test::byte_level_tokenizer();
    const auto tokens = [&](const char* form, const std::string& text) {
        file["normalizer"] = {{"type", form}};
        return ggq::test::make_tokenizer(file).encode_with_offsets(text);
    };
    try {
        ggq::unicode_form("NFC");
    } catch (const ggq::Error&) {
        return ggq::test::skipped("Unicode's normal forms: libutf8proc is absent");
    }
    CHECK(tokens("NFC", "xe\u0301 y") ==
          std::vector<Token>{{'x', 0, 1}, {0xC3, 1, 1}, {0xA9, 1, 4}, {' ', 4, 5}, {'y', 5, 6}});
    CHECK(tokens("NFC", "ﬁ").size() == 3);
    CHECK(tokens("NFKC", "ﬁ") == std::vector<Token>{{'f', 0, 0}, {'i', 0, 3}});
    CHECK(tokens("NFD", "é").size() == 3);
    const std::string hangul = "\u1112\u1161\u11ab";
    CHECK(ggq::in_form({hangul, {0, hangul.size()}}, ggq::UnicodeForm::nfc).text() == "한");
}
