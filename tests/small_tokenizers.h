// Small tokenizers made in the test itself, one of each style, and what loads them.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "ggq/io/utf8.h"
#include "models/text/tokenizer.h"
#include "tests/temp_dir.h"

namespace ggq::test {

// Characters, a few words and the special tokens <s>, </s>; "▁" and bytes as Llama 2 has them.
inline nlohmann::json spm_tokenizer() {
    nlohmann::json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
    int id = 3;
    for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = id++;
    for (const char* token : {"▁", "a", "b", "c", "d", "ab", "cd", "abcd", "▁ab", "é"}) vocab[token] = id++;
    const nlohmann::json special =
        nlohmann::json::array({{{"id", 1}, {"content", "<s>"}, {"special", true}, {"normalized", false}},
                               {{"id", 2}, {"content", "</s>"}, {"special", true}, {"normalized", false}}});
    const nlohmann::json merges = {"a b", "c d", "ab cd", "▁ ab"};
    return {{"model",
             {{"type", "BPE"},
              {"vocab", vocab},
              {"merges", merges},
              {"unk_token", "<unk>"},
              {"byte_fallback", true},
              {"fuse_unk", true}}},
            {"added_tokens", special},
            {"normalizer",
             {{"type", "Sequence"},
              {"normalizers",
               {{{"type", "Prepend"}, {"prepend", "▁"}},
                {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}}}},
            {"post_processor",
             {{"type", "TemplateProcessing"},
              {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
              {"special_tokens", {{"<s>", {{"ids", {1}}}}}}}},
            {"decoder",
             {{"type", "Sequence"},
              {"decoders",
               {{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
                {{"type", "ByteFallback"}},
                {{"type", "Fuse"}},
                {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}}};
}

inline void append_utf8(std::string& text, char32_t code) {
    if (code < 0x80) {
        text += static_cast<char>(code);
        return;
    }
    const int n_following = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    text += static_cast<char>((0xF00u >> (n_following + 1) & 0xFFu) | code >> 6 * n_following);
    for (int i = n_following - 1; i >= 0; --i) text += static_cast<char>(0x80u | (code >> 6 * i & 0x3Fu));
}

// The 256 letters of the byte-level alphabet (id = byte) and a few merges; no normalizer.
inline nlohmann::json byte_level_tokenizer() {
    nlohmann::json vocab = nlohmann::json::object();
    int next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
        const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
        std::string letter;
        append_utf8(letter, static_cast<char32_t>(printable ? byte : next++));
        vocab[letter] = byte;
    }
    for (const char* token : {"he", "Ġhe", "ll", "hell", "hello"}) vocab[token] = vocab.size();
    const std::vector<std::pair<const char*, const char*>> merges = {{"h", "e"}, {"Ġ", "he"}, {"l", "l"}, {"he", "ll"}};
    return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}},
            {"added_tokens", nlohmann::json::array()},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
            {"decoder", {{"type", "ByteLevel"}}}};
}

inline void write_file(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

inline Tokenizer make_tokenizer(const nlohmann::json& tokenizer, const nlohmann::json& config = nullptr) {
    const TempDir folder;
    write_file(folder / "tokenizer.json", tokenizer.dump());
    if (!config.is_null()) write_file(folder / "tokenizer_config.json", config.dump());
    return Tokenizer::load(folder.path());
}

// Every byte is a token (id = byte); <s> is 300, put in front of a text, and </s> is 301.
inline Tokenizer byte_tokenizer() {
    nlohmann::json file = byte_level_tokenizer();
    file["model"]["merges"] = nlohmann::json::array();
    file["added_tokens"] = {{{"id", 300}, {"content", "<s>"}, {"special", true}, {"normalized", false}},
                            {{"id", 301}, {"content", "</s>"}, {"special", true}, {"normalized", false}}};
    return make_tokenizer(file, {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"add_bos_token", true}});
}

}  // namespace ggq::test
