#include "models/text/bpe.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <queue>

#include "ggq/error.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

uint64_t pair_key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// GPT-2's alphabet: printable Latin-1 stands for itself, every other byte for U+0100 and up in order.
std::array<char32_t, 256> byte_alphabet() {
    std::array<char32_t, 256> alphabet{};
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
        const bool printable =
            (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
        alphabet[byte] = printable ? byte : next++;
    }
    return alphabet;
}

// The byte of each letter of the alphabet (all are below U+0144), -1 elsewhere.
std::array<int, 0x144> byte_of_letter() {
    std::array<int, 0x144> bytes;
    bytes.fill(-1);
    const auto alphabet = byte_alphabet();
    for (size_t byte = 0; byte < 256; ++byte) bytes[alphabet[byte]] = static_cast<int>(byte);
    return bytes;
}

std::pair<std::string, std::string> merge_parts(const nlohmann::json& merge) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
        return {merge[0], merge[1]};
    const std::string text = merge.is_string() ? merge.get<std::string>() : std::string();
    const size_t space = text.find(' ');
    require(space != std::string::npos, "model: expected a merge \"a b\" or [\"a\", \"b\"], got {}", shown_json(merge));
    return {text.substr(0, space), text.substr(space + 1)};
}

int32_t id_or_fail(const Vocabulary& vocabulary, const std::string& token, const nlohmann::json& merge) {
    const auto found = vocabulary.find(token);
    if (found != vocabulary.end()) return found->second;
    fail("model: token '{}' of merge {} is not in the vocab", shown(token), shown_json(merge));
}

void refuse_extras(const nlohmann::json& model) {
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
        const auto value = model.value(key, nlohmann::json());
        require(value.is_null() || value == "", "model: {} {} is not supported", key, shown_json(value));
    }
    const auto dropout = model.value("dropout", nlohmann::json());
    require(dropout.is_null() || dropout == 0.0, "model: BPE dropout {} is not supported", shown_json(dropout));
}

}  // namespace

std::string byte_level_bytes(std::string_view token) {
    static const auto bytes = byte_of_letter();
    std::string result;
    for (size_t at = 0; at < token.size(); at += static_cast<size_t>(utf8_length(token[at]))) {
        const char32_t letter = utf8_code_point(token, at);
        if (letter >= bytes.size() || bytes[letter] < 0) return std::string(token);
        result += static_cast<char>(bytes[letter]);
    }
    return result;
}

std::string byte_level_token(std::string_view bytes) {
    static const auto letters = byte_alphabet();
    std::string result;
    for (const char byte : bytes) {
        const char32_t letter = letters[static_cast<unsigned char>(byte)];
        if (letter >= 0x80) {  // all are below U+0800
            result += static_cast<char>(0xC0 | letter >> 6);
            result += static_cast<char>(0x80 | (letter & 0x3F));
        } else {
            result += static_cast<char>(letter);
        }
    }
    return result;
}

Bpe::Bpe(const nlohmann::json& model, const Vocabulary& vocabulary, bool byte_level)
    : byte_level_(byte_level),
      byte_fallback_(JsonFields(model, "model").flag_or("byte_fallback", false)),
      fuse_unk_(JsonFields(model, "model").flag_or("fuse_unk", false)),
      ignore_merges_(JsonFields(model, "model").flag_or("ignore_merges", false)) {
    refuse_extras(model);
    unk_ = unknown_id(model, vocabulary);
    if (const nlohmann::json* scores = JsonFields(model, "model").find("scores")) {
        read_scores(scored_tokens(*scores, vocabulary));
        read_bytes(vocabulary);
        return;
    }
    for (const auto& [token, id] : vocabulary) ids_.emplace(byte_level ? byte_level_bytes(token) : token, id);
    read_bytes(vocabulary);
    const nlohmann::json* merges = JsonFields(model, "model").find("merges");
    require(merges && merges->is_array(), "model: merges must be a list");
    read_merges(*merges, vocabulary);
}

void Bpe::read_bytes(const Vocabulary& vocabulary) {
    byte_ids_.fill(-1);
    for (const auto& [token, id] : byte_level_ ? ids_ : vocabulary) {
        const int byte = !byte_level_        ? byte_of_fallback_token(token)
                         : token.size() == 1 ? static_cast<unsigned char>(token[0])
                                             : -1;
        if (byte >= 0) byte_ids_[static_cast<size_t>(byte)] = id;
    }
}

void Bpe::read_merges(const nlohmann::json& merges, const Vocabulary& vocabulary) {
    merges_.reserve(merges.size());
    int32_t rank = 0;
    for (const auto& merge : merges) {
        const auto [left, right] = merge_parts(merge);
        const uint64_t pair = pair_key(id_or_fail(vocabulary, left, merge), id_or_fail(vocabulary, right, merge));
        merges_.insert_or_assign(pair, Merge{rank++, id_or_fail(vocabulary, left + right, merge)});
    }
}

// The work of finding all pairs is of the sum of the squares of the lengths; no vocabulary that was trained comes near.
void Bpe::read_scores(std::vector<ScoredToken> tokens) {
    constexpr double kMostWork = 4e9;
    double work = 0;
    for (ScoredToken& token : tokens) {
        if (byte_level_) token.text = byte_level_bytes(token.text);
        ids_.emplace(token.text, token.id);
        work += static_cast<double>(token.text.size()) * static_cast<double>(token.text.size());
    }
    require(work <= kMostWork, "model: its tokens are too long: the squares of their bytes make {:.3g}, at most {:.3g}",
            work, kMostWork);
    std::ranges::stable_sort(tokens, std::greater(), &ScoredToken::score);
    int32_t rank = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (i > 0 && tokens[i].score < tokens[i - 1].score) ++rank;
        add_merges_of(tokens[i], rank);
    }
}

void Bpe::add_merges_of(const ScoredToken& token, int32_t rank) {
    const std::string_view text = token.text;
    if (ids_.at(token.text) != token.id) return;  // spelled like another
    for (size_t at = text.empty() ? 0 : symbol_bytes(text[0]); at < text.size(); at += symbol_bytes(text[at])) {
        const auto left = ids_.find(text.substr(0, at)), right = ids_.find(text.substr(at));
        if (left != ids_.end() && right != ids_.end())
            merges_.insert_or_assign(pair_key(left->second, right->second), Merge{rank, token.id});
    }
}

size_t Bpe::symbol_bytes(char lead) const {
    return byte_level_ ? 1 : static_cast<size_t>(std::max(utf8_length(lead), 1));
}

const Bpe::Merge* Bpe::find_merge(int32_t left, int32_t right) const {
    const auto found = merges_.find(pair_key(left, right));
    return found == merges_.end() ? nullptr : &found->second;
}

int64_t Bpe::encode(std::string_view word, size_t offset, std::vector<Token>& tokens) const {
    if (ignore_merges_) {
        const auto whole = ids_.find(word);
        if (whole != ids_.end()) {
            tokens.push_back({whole->second, offset, offset + word.size()});
            return 0;
        }
    }
    auto [symbols, n_dropped] = symbols_of(word);
    merge(symbols);
    for (int32_t at = symbols.empty() ? -1 : 0; at >= 0; at = symbols[static_cast<size_t>(at)].next) {
        const Token& token = symbols[static_cast<size_t>(at)].token;
        tokens.push_back({token.id, offset + token.begin, offset + token.end});
    }
    return n_dropped;
}

std::pair<std::vector<Bpe::Symbol>, int64_t> Bpe::symbols_of(std::string_view word) const {
    std::vector<Symbol> symbols;
    int64_t n_dropped = 0;
    symbols.reserve(word.size());
    for (size_t at = 0; at < word.size();) {
        const size_t n_bytes = symbol_bytes(word[at]);
        if (!append_character(symbols, word.substr(at, n_bytes), at)) n_dropped += static_cast<int64_t>(n_bytes);
        at += n_bytes;
    }
    for (size_t i = 0; i < symbols.size(); ++i) {
        symbols[i].previous = static_cast<int32_t>(i) - 1;
        symbols[i].next = i + 1 < symbols.size() ? static_cast<int32_t>(i) + 1 : -1;
    }
    return {std::move(symbols), n_dropped};
}

// False if nothing stands for the character.
bool Bpe::append_character(std::vector<Symbol>& symbols, std::string_view character, size_t at) const {
    const auto add = [&](int32_t id, size_t begin, size_t end) {
        symbols.push_back({{id, begin, end}, -1, -1});
        return true;
    };
    const auto byte_id = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
    if (byte_level_ && byte_id(character[0]) >= 0) return add(byte_id(character[0]), at, at + 1);
    if (!byte_level_) {
        const auto found = ids_.find(character);
        if (found != ids_.end()) return add(found->second, at, at + character.size());
    }
    bool has_bytes = byte_fallback_;
    for (const char c : character) has_bytes = has_bytes && byte_id(c) >= 0;
    if (has_bytes) {
        for (size_t i = 0; i < character.size(); ++i) add(byte_id(character[i]), at + i, at + i + 1);
        return true;
    }
    if (unk_ < 0) return false;
    const bool fused = fuse_unk_ && !symbols.empty() && symbols.back().token.id == unk_;
    if (!fused) return add(unk_, at, at + character.size());
    symbols.back().token.end = at + character.size();
    return true;
}

void Bpe::merge(std::vector<Symbol>& symbols) const {
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
    const auto symbol = [&](int32_t at) -> Symbol& { return symbols[static_cast<size_t>(at)]; };
    const auto offer = [&](int32_t left) {
        if (left < 0 || symbol(left).next < 0) return;
        const Merge* found = find_merge(symbol(left).token.id, symbol(symbol(left).next).token.id);
        if (found != nullptr) queue.push({found->rank, left, found->id});
    };
    for (size_t i = 0; i + 1 < symbols.size(); ++i) offer(static_cast<int32_t>(i));

    while (!queue.empty()) {
        const Candidate best = queue.top();
        queue.pop();
        // The pair may have changed since it was offered: a dead symbol has no token, a grown one another merge.
        Symbol& left = symbol(best.left);
        if (left.token.id < 0 || left.next < 0) continue;
        Symbol& right = symbol(left.next);
        const Merge* found = find_merge(left.token.id, right.token.id);
        if (found == nullptr || found->rank != best.rank) continue;

        left.token = {best.id, left.token.begin, right.token.end};
        right.token.id = -1;
        left.next = right.next;
        if (left.next >= 0) symbol(left.next).previous = best.left;
        offer(left.previous);
        offer(best.left);
    }
}

}  // namespace ggq
