#include "models/text/tiktoken.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/text/bpe.h"

namespace ggq {

const char* const kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

using nlohmann::json;

constexpr size_t kLlama3Ranks = 128'000, kLlama3Special = 256;
constexpr int32_t kMostRank = 1 << 24;  // up to there a float holds each

int digit_of(char c) {
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t at = kDigits.find(c);
    return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

// Bytes of a text in base64, with "=" at its end or without; empty where it is none.
std::string base64_bytes(std::string_view text) {
    while (text.ends_with('=')) text.remove_suffix(1);
    std::string bytes;
    uint32_t bits = 0;
    int n_bits = 0;
    for (const char c : text) {
        const int digit = digit_of(c);
        if (digit < 0) return {};
        bits = bits << 6 | static_cast<uint32_t>(digit);
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        bytes += static_cast<char>(bits >> n_bits & 0xFF);
    }
    return bytes;
}

struct Rank {
    std::string bytes;
    int32_t rank = -1;
};

Rank parse_line(std::string_view line) {
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) return {};
    const std::string_view number = line.substr(space + 1);
    Rank row{base64_bytes(line.substr(0, space)), -1};
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), row.rank);
    if (error != std::errc() || end != number.data() + number.size()) row.rank = -1;
    return row;
}

// What Llama 3.1 has behind its ranks.
std::vector<std::string> llama3_special() {
    std::vector<std::string> names = {kLlama3Bos,
                                      kLlama3Eos,
                                      "<|reserved_special_token_0|>",
                                      "<|reserved_special_token_1|>",
                                      "<|finetune_right_pad_id|>",
                                      "<|reserved_special_token_2|>",
                                      "<|start_header_id|>",
                                      "<|end_header_id|>",
                                      "<|eom_id|>",
                                      "<|eot_id|>",
                                      "<|python_tag|>"};
    for (int i = 3; names.size() < kLlama3Special; ++i)
        names.push_back(fmt::format("<|reserved_special_token_{}|>", i));
    return names;
}

json added_tokens(size_t n_ranks, bool with_special) {
    json added = json::array();
    if (!with_special || n_ranks != kLlama3Ranks) return added;
    for (const std::string& name : llama3_special())
        added.push_back({{"id", n_ranks + added.size()}, {"content", name}, {"special", true}, {"normalized", false}});
    return added;
}

}  // namespace

json parse_tiktoken(std::string_view file, const std::string& where, bool with_special) {
    json vocab = json::object(), scores = json::array();
    int64_t n_lines = 0;
    while (!file.empty()) {
        const size_t end = std::min(file.find('\n'), file.size());
        std::string_view line = file.substr(0, end);
        file.remove_prefix(std::min(end + 1, file.size()));
        if (line.ends_with('\r')) line.remove_suffix(1);
        ++n_lines;
        if (line.empty()) continue;
        const Rank row = parse_line(line);
        require(!row.bytes.empty() && row.rank >= 0 && row.rank <= kMostRank,
                "{}: line {}: expected a token in base64 and its rank of 0 to {}, got '{}'; it is neither a "
                "SentencePiece model nor a file of tiktoken",
                where, n_lines, kMostRank, shown(line, 60));
        const auto at = static_cast<size_t>(row.rank);
        while (scores.size() <= at) scores.push_back(nullptr);
        require(scores[at].is_null() && vocab.emplace(byte_level_token(row.bytes), at).second,
                "{}: line {}: its token or its rank {} was there before", where, n_lines, row.rank);
        scores[at] = -row.rank;
    }
    require(!vocab.empty(), "{}: expected tokens and their ranks, the file is empty", where);
    const json words = {{"type", "Split"}, {"pattern", {{"Regex", kLlama3Words}}}, {"behavior", "Isolated"}};
    const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
    return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"scores", scores}, {"ignore_merges", true}}},
            {"added_tokens", added_tokens(vocab.size(), with_special)},
            {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {words, bytes}}}},
            {"decoder", {{"type", "ByteLevel"}}}};
}

}  // namespace ggq
