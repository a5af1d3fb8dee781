// Which file of a model folder has the word on special and added tokens, as transformers 5 has it. What is expected was
// taken from transformers 5.24 on folders of the same form.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "models/adapter_files.h"
#include "tests/file_checks.h"
#include "tests/small_tokenizers.h"

using ggq::Tokenizer;
using ggq::test::check_contains;
using ggq::test::error_of;
using ggq::test::TempDir;
using ggq::test::write_file;
using nlohmann::json;

namespace {

using Ids = std::vector<int32_t>;

// Bytes are their own ids; <s> is 300 and </s> 301, BOS by the post-processor.
json file_with_bos() {
    json file = ggq::test::byte_level_tokenizer();
    file["model"]["merges"] = json::array();
    file["added_tokens"] = {{{"id", 300}, {"content", "<s>"}, {"special", true}, {"normalized", false}},
                            {{"id", 301}, {"content", "</s>"}, {"special", true}, {"normalized", false}}};
    file["post_processor"] = {{"type", "TemplateProcessing"},
                              {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
                              {"special_tokens", {{"<s>", {{"ids", {300}}}}}}};
    return file;
}

const json kNames = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"tokenizer_class", "PreTrainedTokenizerFast"}};

struct Folder {
    json tokenizer = file_with_bos(), config = kNames, map = nullptr, added = nullptr;

    void write(const std::filesystem::path& folder) const {
        write_file(folder / "tokenizer.json", tokenizer.dump());
        for (const auto& [name, content] : {std::pair{"tokenizer_config.json", config},
                                            {"special_tokens_map.json", map},
                                            {"added_tokens.json", added}})
            if (!content.is_null()) write_file(folder / name, content.dump());
    }
    Tokenizer load() const {
        const TempDir folder;
        write(folder.path());
        return Tokenizer::load(folder.path());
    }
    // With more keys in tokenizer_config.json.
    Folder with(const json& more) const {
        Folder other = *this;
        other.config.update(more);
        return other;
    }
};

json token(const char* content, const json& flags = json::object()) {
    json result = {{"content", content}, {"special", false}, {"normalized", false},
                   {"lstrip", false},    {"rstrip", false},  {"single_word", false}};
    result.update(flags);
    return result;
}

Ids plain(const Tokenizer& tokenizer, const std::string& text) {
    return tokenizer.encode(text, {.add_special = false});
}

}  // namespace

TEST_CASE("special tokens: special_tokens_map.json overrules only where there is no added_tokens_decoder") {
    Folder folder;
    CHECK(folder.load().eos_id() == 301);
    folder.map = {{"eos_token", "<s>"}};
    CHECK(folder.load().eos_id() == 300);
    CHECK(folder.with({{"added_tokens_decoder", {{"301", token("</s>", {{"special", true}})}}}}).load().eos_id() ==
          301);
    CHECK(folder.with({{"added_tokens_decoder", json::object()}}).load().eos_id() == 301);
    folder.map = {{"eos_token", nullptr}};
    CHECK_FALSE(folder.load().eos_id());
    folder.config = nullptr;
    folder.map = {{"eos_token", "</s>"}, {"bos_token", {{"content", "<s>"}}}};
    CHECK(folder.load().eos_id() == 301);
    CHECK(folder.load().bos_id() == 300);
}

TEST_CASE("special tokens: added_tokens_decoder has the last word on flags") {
    Folder folder;
    folder.tokenizer["added_tokens"].push_back({{"id", 302}, {"content", "<x>"}, {"normalized", false}});
    CHECK(plain(folder.load(), "a <x> b") == Ids{'a', ' ', 302, ' ', 'b'});
    const auto with_flags = [&](const json& flags) {
        return plain(folder.with({{"added_tokens_decoder", {{"302", token("<x>", flags)}}}}).load(), "a <x> b<x>");
    };
    CHECK(with_flags({{"lstrip", true}}) == Ids{'a', 302, ' ', 'b', 302});
    CHECK(with_flags({{"rstrip", true}}) == Ids{'a', ' ', 302, 'b', 302});
    CHECK(with_flags({{"lstrip", true}, {"rstrip", true}}) == Ids{'a', 302, 'b', 302});
    CHECK(with_flags({{"single_word", true}}) == Ids{'a', ' ', 302, ' ', 'b', '<', 'x', '>'});
    CHECK(folder.with({{"added_tokens_decoder", {{"302", token("<x>", {{"special", true}})}}}}).load().is_special(302));
}

TEST_CASE("special tokens: a new token gets the next id, whatever the file calls it") {
    const Folder folder;
    const auto added = [&](const json& list) { return folder.with({{"added_tokens_decoder", list}}).load(); };
    CHECK(plain(added({{"600", token("<x>")}}), "<x>") == Ids{302});
    const Tokenizer two = added({{"303", token("<x>")}, {"302", token("cat", {{"single_word", true}})}});
    CHECK(plain(two, "<x> cat cats") == Ids{303, ' ', 302, ' ', 'c', 'a', 't', 's'});
    CHECK(two.vocab_size() == 304);
    CHECK(plain(added({{"1000", token("<x>")}, {"999", token("<y>")}}), "<x><y>") == Ids{303, 302});
    CHECK(plain(added({{"65", token("<y>")}}), "A<y>") == Ids{'A', 302});  // that id is another token's
    CHECK(plain(added({{"302", {{"content", "<x>"}}}}), "<x>") == Ids{302});
}

TEST_CASE("special tokens: added_tokens.json counts where there is no added_tokens_decoder") {
    Folder folder;
    folder.added = {{"<x>", 310}, {"cat", 305}};
    CHECK(plain(folder.load(), "<x>cat") == Ids{303, 302});
    CHECK_FALSE(folder.load().is_special(303));
    CHECK(folder.with({{"pad_token", "<x>"}}).load().is_special(303));
    CHECK(folder.with({{"added_tokens_decoder", json::object()}}).load().vocab_size() == 302);
    Folder known = folder;  // whose flags tokenizer.json has
    known.tokenizer["added_tokens"].push_back(
        {{"id", 302}, {"content", "<x>"}, {"normalized", false}, {"lstrip", true}});
    CHECK(plain(known.load(), "a <x>") == Ids{'a', 302});
    folder.added = {{"<x>", 1.5}};
    check_contains(error_of([&] { folder.load(); }),
                   "added_tokens.json: id of token '<x>': expected a whole number of 0 to 2147483646, got 1.5");
}

TEST_CASE("special tokens: a folder's copy encodes as the folder does") {
    const Folder folder{.map = {{"eos_token", "<end>"}}, .added = {{"<x>", 302}, {"<end>", 303}}};
    const TempDir from, to;
    folder.write(from.path());
    ggq::copy_tokenizer_files(from.path(), to.path());
    const Tokenizer copy = Tokenizer::load(to.path());
    CHECK(plain(copy, "<x> <end>") == plain(Tokenizer::load(from.path()), "<x> <end>"));
    CHECK(plain(copy, "<x>") == Ids{302});
}

TEST_CASE("special tokens: a flag that is none is refused with file and key") {
    const auto refused = [](const Folder& folder) { return error_of([&] { folder.load(); }); };
    const json wrong = token("<x>", {{"lstrip", "yes"}});
    const std::string sentence = "added token '<x>': lstrip must be true or false, got \"yes\"";
    check_contains(refused(Folder().with({{"added_tokens_decoder", {{"302", wrong}}}})),
                   "tokenizer_config.json: " + sentence);
    check_contains(refused(Folder().with({{"pad_token", {{"content", 5}}}})),
                   "tokenizer_config.json: an added token: content must be a text, got 5");
    check_contains(refused(Folder().with({{"pad_token", {{"content", "<p>"}, {"normalized", 1}}}})),
                   "tokenizer_config.json: added token '<p>': normalized must be true or false, got 1");
    Folder other_words;
    other_words.tokenizer["model"]["end_of_word_suffix"] = "\u202e";
    check_contains(refused(other_words), "end_of_word_suffix \"\\u202e\" is not supported");
    Folder folder;
    folder.tokenizer["added_tokens"].push_back(wrong);
    check_contains(refused(folder), "tokenizer.json: " + sentence);
    for (const char* part : {"normalizer", "pre_tokenizer", "decoder", "post_processor", "model", "added_tokens"})
        for (const json& value : {json("x"), json({1}), json({{"type", 5}}), json({{"type", "Strip"}}),
                                  json({{"type", "TemplateProcessing"}, {"single", {{{"SpecialToken", 5}}}}})}) {
            Folder damaged;
            damaged.tokenizer[part] = value;
            const std::string text = refused(damaged);
            CAPTURE(part);
            CAPTURE(value.dump());
            CAPTURE(text);
            CHECK(text.find("json.exception") == std::string::npos);
        }
}

TEST_CASE("special tokens: what is named is special, and new if nobody knows it") {
    const Folder folder;
    CHECK(folder.with({{"eos_token", "<end>"}}).load().eos_id() == 302);
    CHECK(folder.with({{"eos_token", "A"}}).load().eos_id() == 'A');
    CHECK(folder.with({{"eos_token", "A"}}).load().is_special('A'));
    for (const char* key : {"pad_token", "unk_token", "mask_token", "image_token"}) {
        CAPTURE(key);
        const Tokenizer tokenizer = folder.with({{key, "<m>"}}).load();
        CHECK(tokenizer.is_special(302));
        CHECK(plain(tokenizer, "a<m>") == Ids{'a', 302});
    }
    CHECK(plain(folder.with({{"additional_special_tokens", {"<x>", "<y>"}}}).load(), "<x><y>") == Ids{302, 303});
    CHECK(plain(folder.with({{"extra_special_tokens", {{"image_token", "<x>"}}}}).load(), "<x>") == Ids{302});
    Folder listed = folder.with({{"additional_special_tokens", {"<x>"}}});
    listed.map = {{"additional_special_tokens", {"<y>"}}};
    CHECK(plain(listed.load(), "<x><y>") == Ids{302, '<', 'y', '>'});
    const json several = {{"additional_special_tokens", {"<z>"}}, {"image_token", "<i>"}, {"mask_token", "<m>"}};
    CHECK(plain(folder.with(several).load(), "<m><i><z>") == Ids{302, 303, 304});
    const json with_flags = {{"content", "<end>"}, {"lstrip", true}};
    CHECK(plain(folder.with({{"eos_token", with_flags}}).load(), "a <end> ") == Ids{'a', 302, ' '});
    check_contains(error_of([&] {
                       folder.with({{"eos_token", 5}}).load();
                   }),
                   "tokenizer_config.json: eos_token: expected a text or an object with content, got 5");
}

TEST_CASE("special tokens: a BOS or EOS that differs from the post-processor's takes its place") {
    const Folder folder;
    const auto ends = [](const Folder& f) { return f.load().encode("a"); };
    CHECK(ends(folder) == Ids{300, 'a'});
    CHECK(ends(folder.with({{"bos_token", "</s>"}})) == Ids{300, 'a'});  // no file asks for it
    CHECK(ends(folder.with({{"bos_token", "</s>"}, {"add_bos_token", true}})) == Ids{301, 'a'});
    CHECK(ends(folder.with({{"bos_token", "</s>"}, {"tokenizer_class", "LlamaTokenizerFast"}})) == Ids{301, 'a'});
    CHECK(ends(folder.with({{"bos_token", "<b>"}, {"tokenizer_class", "LlamaTokenizer"}})) == Ids{302, 'a'});
    CHECK(ends(folder.with({{"add_bos_token", false}})) == Ids{'a'});
    CHECK(ends(folder.with({{"add_eos_token", true}})) == Ids{300, 'a', 301});

    Folder closed = folder;
    closed.tokenizer["post_processor"]["single"].push_back({{"SpecialToken", {{"id", "</s>"}}}});
    closed.tokenizer["post_processor"]["special_tokens"]["</s>"] = {{"ids", {301}}};
    CHECK(ends(closed) == Ids{300, 'a', 301});
    CHECK(ends(closed.with({{"eos_token", "<s>"}, {"add_eos_token", true}})) == Ids{300, 'a', 300});
}

TEST_CASE("special tokens: a text to be continued has nothing behind it, and one BOS") {
    Folder folder;
    folder.tokenizer["post_processor"]["single"].push_back({{"SpecialToken", {{"id", "</s>"}}}});
    folder.tokenizer["post_processor"]["special_tokens"]["</s>"] = {{"ids", {301}}};
    const Folder flagged = Folder().with({{"add_eos_token", true}});
    for (const Folder& each : {folder, flagged, Folder()}) {
        const Tokenizer tokenizer = each.load();
        const auto open = [&](const char* text) {
            Ids ids;
            for (const ggq::Token& t : tokenizer.encode_open(text).tokens) ids.push_back(t.id);
            return ids;
        };
        CHECK(open("a") == Ids{300, 'a'});
        CHECK(open("<s>a") == Ids{300, 'a'});
        CHECK(open("a</s>") == Ids{300, 'a', 301});
        CHECK(open("") == Ids{300});
        CHECK(tokenizer.encode_open("<s>a").has_bos);
        CHECK_FALSE(tokenizer.encode_open("a").has_bos);
    }
    CHECK_FALSE(Folder().with({{"add_bos_token", false}}).load().encode_open("<s>a").has_bos);
}

TEST_CASE("special tokens: the chat template of a folder is known of") {
    CHECK_FALSE(Folder().load().has_chat_template());
    CHECK_FALSE(Folder().with({{"chat_template", nullptr}}).load().has_chat_template());
    CHECK(Folder().with({{"chat_template", "{{ messages }}"}}).load().has_chat_template());
    const TempDir folder;
    write_file(folder / "tokenizer.json", file_with_bos().dump());
    write_file(folder / "chat_template.jinja", "x");
    CHECK(Tokenizer::load(folder.path()).has_chat_template());
}
