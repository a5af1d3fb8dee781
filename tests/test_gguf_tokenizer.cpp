// Vocabularies and chat templates of GGUF files: the ids that llama.cpp publishes, and those of the same vocabulary as
// a tokenizer.json.
#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "ggq/error.h"
#include "models/text/gguf_tokenizer.h"
#include "tests/fixtures.h"

using ggq::Gguf;
using ggq::GgufFile;
using ggq::Tokenizer;

namespace fs = std::filesystem;

namespace {

using Ids = std::vector<int32_t>;
using Spelled = std::vector<std::string>;

std::optional<fs::path> data_folder(const char* needed) {
    const auto root = ggq::test::fixtures();
    if (root && fs::exists(*root / "data" / needed)) return *root / "data";
    ggq::test::skipped("data/" + std::string(needed) + " is absent");
    return std::nullopt;
}

// Texts that a line of their own parts, and a line of ids for each.
void check_vectors(const Tokenizer& tokenizer, const fs::path& file) {
    std::ifstream in(file.string() + ".inp"), out(file.string() + ".out");
    const std::string texts((std::istreambuf_iterator<char>(in)), {});
    constexpr std::string_view kBreak = "\n__ggml_vocab_test__\n";
    int count = 0;
    for (size_t at = 0, end = 0; end != std::string::npos; at = end + kBreak.size(), ++count) {
        end = texts.find(kBreak, at);
        const std::string text = texts.substr(at, end == std::string::npos ? end : end - at);
        std::string line;
        std::getline(out, line);
        std::istringstream numbers(line);
        const Ids ids((std::istream_iterator<int32_t>(numbers)), {});
        CAPTURE(text);
        CHECK(tokenizer.encode(text, {.add_special = false, .parse_special = false}) == ids);
    }
    CHECK(count > 40);
}

// Ids 0 to 11 of a byte-level vocabulary.
Gguf small_gpt2(const char* pre) {
    Gguf gguf{.where = "m.gguf", .metadata = {}, .tensors = {}};
    gguf.metadata["tokenizer.ggml.model"] = std::string("gpt2");
    gguf.metadata["tokenizer.ggml.pre"] = std::string(pre);
    gguf.metadata["tokenizer.ggml.tokens"] =
        Spelled{"a", "b", "1", "Ġ", "ab", "11", "Ġab", "<s>", "<e>", "<u>", "Ċ", "abb"};
    gguf.metadata["tokenizer.ggml.token_type"] = std::vector<int64_t>{1, 1, 1, 1, 1, 1, 1, 3, 3, 4, 1, 1};
    gguf.metadata["tokenizer.ggml.merges"] = Spelled{"a b", "1 1", "Ġ ab"};
    gguf.metadata["tokenizer.ggml.bos_token_id"] = int64_t{7};
    gguf.metadata["tokenizer.ggml.eos_token_id"] = int64_t{8};
    return gguf;
}

Gguf small_llama() {
    Gguf gguf{.where = "m.gguf", .metadata = {}, .tensors = {}};
    gguf.metadata["tokenizer.ggml.model"] = std::string("llama");
    gguf.metadata["tokenizer.ggml.tokens"] = Spelled{"<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab", "<u>"};
    gguf.metadata["tokenizer.ggml.scores"] = std::vector<float>{0, 0, 0, -3, -4, -5, -1, -2, 0};
    gguf.metadata["tokenizer.ggml.token_type"] = std::vector<int64_t>{2, 3, 3, 1, 1, 1, 1, 1, 4};
    return gguf;
}

std::string error_of(const Gguf& gguf) {
    try {
        ggq::tokenizer_of(gguf);
    } catch (const ggq::Error& error) {
        return error.what();
    }
    return "read";
}

}  // namespace

TEST_CASE("gguf tokenizer: the ids that llama.cpp publishes") {
    const auto data = data_folder("tokenizer-vectors/ggml");
    if (!data) return;
    for (const char* name : {"ggml-vocab-llama-spm.gguf", "ggml-vocab-gpt-2.gguf"}) {
        CAPTURE(name);
        const fs::path file = *data / "tokenizer-vectors/ggml" / name;
        check_vectors(ggq::tokenizer_of(GgufFile(file).content()), file);
    }
}

TEST_CASE("gguf tokenizer: Llama 2's, of versions 1 and 3, is that of its tokenizer.json") {
    const auto data = data_folder("gguf-samples/ggml-vocab-llama-v1.gguf");
    if (!data || !data_folder("tokenizers/llama2/tokenizer.json")) return;
    const Tokenizer reference = Tokenizer::load(*data / "tokenizers/llama2/tokenizer.json");
    for (const char* name : {"ggml-vocab-llama-v1.gguf", "llama-2-tiny-random-f16-v3.gguf"}) {
        const Tokenizer tokenizer = ggq::tokenizer_of(GgufFile(*data / "gguf-samples" / name).content());
        CHECK(tokenizer.vocab_size() == reference.vocab_size());
        CHECK(tokenizer.bos_id() == 1);
        CHECK(tokenizer.eos_id() == 2);
        for (const char* text : {"<s>[INST] It's  1234\n\n漢字 🦙[/INST] ok</s><s> x", "", " ", "a\tb"}) {
            CHECK(tokenizer.encode(text) == reference.encode(text));
            CHECK(tokenizer.decode(tokenizer.encode(text)) == reference.decode(reference.encode(text)));
        }
    }
}

TEST_CASE("gguf tokenizer: ways of cutting words by their names") {
    const auto ids = [](const char* pre, const char* text) {
        return ggq::tokenizer_of(small_gpt2(pre)).encode(text, {.add_special = false});
    };
    CHECK(ids("gpt-2", "ab ab11") == Ids{4, 6, 5});
    CHECK(ids("smollm", "ab 11") == Ids{4, 3, 2, 2});  // each digit alone
    CHECK(ids("qwen2", "ab11") == Ids{4, 2, 2});
    CHECK(ids("llama-bpe", "abb11") == Ids{11, 5});  // a whole word, which no merge makes
    CHECK(ids("qwen2", "abb") == Ids{4, 1});
    CHECK(ids("tekken", "ab11") == Ids{4, 2, 2});
    CHECK(ids("default", "ab11") == Ids{4, 5});
    CHECK(ids("qwen2", "ab<u>ab<s>") == Ids{4, 9, 4, 7});
    CHECK(ggq::tokenizer_of(small_gpt2("llama-bpe")).encode("ab") == Ids{7, 4});
    CHECK(ggq::tokenizer_of(small_gpt2("qwen2")).encode("ab") == Ids{4});
    Gguf gguf = small_gpt2("qwen2");
    gguf.metadata["tokenizer.ggml.add_bos_token"] = true;
    gguf.metadata["tokenizer.ggml.add_eos_token"] = true;
    CHECK(ggq::tokenizer_of(gguf).encode("ab") == Ids{7, 4, 8});
    CHECK(ggq::tokenizer_of(gguf).is_special(7));
    CHECK_FALSE(ggq::tokenizer_of(gguf).is_special(9));
}

TEST_CASE("gguf tokenizer: scores, the prefix behind special tokens, and what a file says of it") {
    Gguf gguf = small_llama();
    CHECK(ggq::tokenizer_of(gguf).encode("ab<s>ab ab") == Ids{1, 7, 1, 7, 7});
    gguf.metadata["tokenizer.ggml.add_space_prefix"] = false;
    CHECK(ggq::tokenizer_of(gguf).encode("ab<u>ab") == Ids{1, 6, 8, 6});
    gguf.metadata["tokenizer.ggml.add_bos_token"] = false;
    CHECK(ggq::tokenizer_of(gguf).encode("ab") == Ids{6});
    CHECK_FALSE(ggq::chat_template_of(gguf));
    gguf.metadata["tokenizer.chat_template"] = std::string("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}");
    CHECK(ggq::tokenizer_of(gguf).has_chat_template());
    CHECK(ggq::chat_template_of(gguf)->render(ggq::single_turn("", "ab"), false).text == "<s>ab</s>");
}

TEST_CASE("gguf tokenizer: what cannot be used is refused in one sentence") {
    Gguf gguf = small_gpt2("klingon");
    CHECK(error_of(gguf).find("m.gguf: tokenizer.ggml.pre 'klingon', a way of cutting words, is not known; known are "
                              "default, gpt-2") == 0);
    gguf.metadata["tokenizer.ggml.model"] = std::string("rwkv");
    CHECK(error_of(gguf) == "m.gguf: a vocabulary of the kind 'rwkv' is not supported; supported are llama and gpt2");
    gguf = small_llama();
    gguf.metadata["tokenizer.ggml.scores"] = std::vector<float>{0, 1};
    CHECK(error_of(gguf) == "m.gguf: tokenizer.ggml.scores has 2 values for 9 tokens");
    gguf.metadata["tokenizer.ggml.scores"] = std::vector<float>(9, INFINITY);
    CHECK(error_of(gguf) == "m.gguf: token '<unk>': its score is no finite number");
    gguf.metadata["tokenizer.ggml.tokens"] = Spelled{"\xFF"};
    gguf.metadata.erase("tokenizer.ggml.scores");
    gguf.metadata.erase("tokenizer.ggml.token_type");
    CHECK(error_of(gguf) == "m.gguf: token 0: '\\xff' is not valid UTF-8");
    gguf.metadata.erase("tokenizer.ggml.tokens");
    CHECK(error_of(gguf) == "m.gguf: expected a vocabulary, found no tokenizer.ggml.tokens");
}
