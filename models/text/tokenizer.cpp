#include "models/text/tokenizer.h"

#include "ggq/error.h"

namespace ggq {

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
    std::vector<int32_t> ids;
    for (const Token& token : encode_with_offsets(text, options)) ids.push_back(token.id);
    return ids;
}

std::vector<Token> Tokenizer::encode_with_offsets(std::string_view text, EncodeOptions options) const {
    std::vector<Token> tokens;
    if (options.add_special) {
        for (const int32_t id : prefix_) tokens.push_back({id, 0, 0});
    }
    encode_valid(text, options.parse_special, tokens);
    if (options.add_special) {
        for (const int32_t id : suffix_) tokens.push_back({id, text.size(), text.size()});
    }
    return tokens;
}

OpenText Tokenizer::encode_open(std::string_view text) const {
    OpenText open;
    for (const int32_t id : prefix_) open.tokens.push_back({id, 0, 0});
    open.n_dropped = encode_valid(text, true, open.tokens);
    const size_t n = prefix_.size();
    open.has_bos = n > 0 && open.tokens.size() > n && open.tokens[n].id == prefix_.back();
    if (open.has_bos) open.tokens.erase(open.tokens.begin() + static_cast<std::ptrdiff_t>(n) - 1);
    return open;
}

int64_t Tokenizer::encode_valid(std::string_view text, bool parse_special, std::vector<Token>& tokens) const {
    const auto bad = invalid_utf8(text);
    if (bad) fail("text to tokenize: byte {} of {} is not valid UTF-8", *bad, text.size());
    try {
        return encode_parts(text, parse_special, tokens);
    } catch (const Error& error) {  // an expression or a normalizer of the file, for which the text is too much
        fail("{}{}", file_.empty() ? "" : file_ + ": ", error.what());
    }
}

int64_t Tokenizer::encode_parts(std::string_view text, bool parse_special, std::vector<Token>& tokens) const {
    int64_t n_dropped = 0;
    for (const auto& part : added_raw_.split(text, parse_special)) {
        if (part.id >= 0) {
            tokens.push_back({part.id, part.range.begin, part.range.end});
            continue;
        }
        const AlignedText normalized = normalizer_.apply(AlignedText(text, part.range));
        for (const auto& inner : added_normalized_.split(normalized.text(), parse_special)) {
            if (inner.id >= 0) {
                tokens.push_back({inner.id, normalized.origin(inner.range.begin), normalized.origin(inner.range.end)});
            } else {
                n_dropped += encode_words(normalized.replaced(inner.range, {}, {}), tokens);
            }
        }
    }
    return n_dropped;
}

int64_t Tokenizer::encode_words(AlignedText text, std::vector<Token>& tokens) const {
    const SplitText words = pre_tokenizer_.split(std::move(text));
    const size_t first = tokens.size();
    int64_t n_dropped = 0;
    for (const TextRange& word : words.ranges) {
        const auto encode = [&](const auto& model) { return model.encode(words.text.part(word), word.begin, tokens); };
        n_dropped += std::visit(encode, model_);
    }
    for (size_t i = first; i < tokens.size(); ++i) {
        tokens[i] = {tokens[i].id, words.text.origin(tokens[i].begin), words.text.origin(tokens[i].end)};
    }
    return n_dropped;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
    StreamDecoder stream(*this, skip_special);
    std::string text;
    for (const int32_t id : ids) text += stream.push(id);
    return text + stream.flush();
}

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const Tokenizer::Entry& Tokenizer::entry(int32_t id) const {
    require(id >= 0 && id < vocab_size(), "token id {} is outside the tokenizer's vocabulary of {}", id, vocab_size());
    static const Entry none;
    const auto found = tokens_.find(id);
    return found == tokens_.end() ? none : found->second;
}

const std::string& Tokenizer::token_of(int32_t id) const { return entry(id).token; }

bool Tokenizer::is_special(int32_t id) const { return entry(id).special; }

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special, bool mid_text)
    : tokenizer_(&tokenizer),
      skip_special_(skip_special),
      front_left_(mid_text ? 0 : tokenizer.decoder_.front_count()) {}

std::string StreamDecoder::push(int32_t id) {
    const Tokenizer::Entry& entry = tokenizer_->entry(id);
    if (skip_special_ && entry.special) return {};
    return cut_front(utf8_.push(entry.bytes));
}

std::string StreamDecoder::flush() { return cut_front(utf8_.flush()); }

std::string StreamDecoder::cut_front(std::string text) {
    const std::string& front = tokenizer_->decoder_.front();
    while (front_left_ > 0 && !text.empty()) {
        if (!text.starts_with(front)) {
            front_left_ = 0;
        } else {
            text.erase(0, front.size());
            --front_left_;
        }
    }
    return text;
}

}  // namespace ggq
