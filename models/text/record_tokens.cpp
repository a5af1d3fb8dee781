#include "models/text/record_tokens.h"

#include <algorithm>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "models/text/template.h"

namespace ggq {

namespace {

// A token without width (a "▁" put in front) counts as the byte that follows it.
bool overlaps(const Token& token, TextRange range) {
    return token.begin < range.end && std::max(token.end, token.begin + 1) > range.begin;
}

bool is_blank(std::string_view text, const Token& token) {
    const std::string_view bytes = text.substr(token.begin, token.end - token.begin);
    return bytes.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

Sample part_of(const Sample& sample, int64_t begin, int64_t end) {
    Sample part{{sample.ids.begin() + begin, sample.ids.begin() + end},
                {sample.has_loss.begin() + begin, sample.has_loss.begin() + end}};
    part.has_loss[0] = 0;
    return part;
}

}  // namespace

RecordTokens RecordTokenizer::tokens(const Record& record) {
    try {
        return record.chat.empty() ? plain_tokens(record) : chat_tokens(record);
    } catch (const Error& error) {
        fail("{}: {}", record.place, error.what());
    }
}

RecordTokens RecordTokenizer::plain_tokens(const Record& record) const {
    const RenderedText rendered = render(record);
    OpenText open = tokenizer_.encode_open(rendered.text);
    const int32_t eos = *tokenizer_.eos_id();
    if (open.tokens.empty() || open.tokens.back().id != eos)
        open.tokens.push_back({eos, rendered.text.size(), rendered.text.size()});
    RecordTokens made{sample_of(open.tokens), open.has_bos, open.n_dropped};
    for (size_t i = 0; i < open.tokens.size(); ++i)
        made.sample.has_loss[i] = options_.train_on_prompt || overlaps(open.tokens[i], rendered.answer);
    made.sample.has_loss.back() = 1;
    made.sample.has_loss.front() = 0;
    return made;
}

const ChatTemplate& RecordTokenizer::chat() {
    if (!chat_) chat_ = options_.chat();
    return *chat_;
}

RecordTokens RecordTokenizer::chat_tokens(const Record& record) {
    ChatText text = chat().render(record.chat, false);
    if (options_.last_answer_only && text.answers.size() > 1)
        text.answers.erase(text.answers.begin(), text.answers.end() - 1);
    std::vector<Token> tokens = tokenizer_.encode_with_offsets(text.text, {.add_special = false});
    RecordTokens made;
    const auto other = std::ranges::find_if(tokens, [&](const Token& t) { return tokenizer_.bos_id() != t.id; });
    made.double_bos = other - tokens.begin() > 1;
    std::vector<uint8_t> has_loss(tokens.size(), options_.train_on_prompt ? 1 : 0);
    for (const TextRange& answer : text.answers) {
        ++made.answers;
        const size_t end = mark_answer(tokens, answer, text.text, has_loss);
        if (end < tokens.size()) continue;
        ++made.open_answers;
        if (&answer != &text.answers.back()) continue;
        tokens.push_back({*tokenizer_.eos_id(), text.text.size(), text.text.size()});
        has_loss.push_back(1);
    }
    made.sample = sample_of(tokens);
    made.sample.has_loss = std::move(has_loss);
    if (!made.sample.has_loss.empty()) made.sample.has_loss.front() = 0;
    return made;
}

// An answer's tokens, and those behind it up to the special one that ends it, if only white space is between.
// Returns which one that is; where there is none, tokens.size().
size_t RecordTokenizer::mark_answer(const std::vector<Token>& tokens, TextRange answer, std::string_view text,
                                    std::vector<uint8_t>& has_loss) const {
    size_t last = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (!overlaps(tokens[i], answer)) continue;
        has_loss[i] = 1;
        last = i;
    }
    size_t end = last + 1;
    while (end < tokens.size() && !tokenizer_.is_special(tokens[end].id) && is_blank(text, tokens[end])) ++end;
    const bool ended =
        end < tokens.size() && tokenizer_.is_special(tokens[end].id) && tokens[end].id != tokenizer_.bos_id();
    if (!ended) return tokenizer_.is_special(tokens[last].id) ? last : tokens.size();
    for (size_t i = last + 1; i <= end; ++i) has_loss[i] = 1;
    return end;
}

void RecordTokenizer::refuse_token(int32_t id) const {
    fail("token {} ('{}') is beyond the model's vocabulary of {}; tokenizer and model do not belong together", id,
         shown(tokenizer_.token_of(id)), vocab_size_);
}

// Without any loss yet.
Sample RecordTokenizer::sample_of(const std::vector<Token>& tokens) const {
    Sample sample;
    for (const Token& token : tokens) {
        if (token.id >= vocab_size_) refuse_token(token.id);
        sample.ids.push_back(token.id);
    }
    sample.has_loss.assign(tokens.size(), 0);
    return sample;
}

OnLong RecordTokenizer::on_long(bool document) const {
    return document && options_.split_documents ? OnLong::split : options_.on_long;
}

std::vector<Sample> RecordTokenizer::fitted(const Sample& sample, bool document) const {
    const int64_t n = sample.n_tokens(), most = options_.max_length;
    const OnLong how = on_long(document);
    if (n <= most) return {sample};
    if (how == OnLong::drop) return {};
    if (how == OnLong::cut_right) return {part_of(sample, 0, most)};
    if (how == OnLong::cut_left) {
        Sample part = part_of(sample, n - most, n);
        if (tokenizer_.bos_id() == sample.ids[0]) part.ids[0] = sample.ids[0];
        return {part};
    }
    std::vector<Sample> parts;
    for (int64_t begin = 0; begin < n; begin += most)
        parts.push_back(part_of(sample, begin, std::min(begin + most, n)));
    return parts;
}

}  // namespace ggq
