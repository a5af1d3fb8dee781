// From a record to tokens: put into its template, tokenized, and marked where it carries loss (dataset.h says how).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/text/dataset.h"

namespace ggq {

struct RecordTokens {
    Sample sample;            // whole, however long
    bool double_bos = false;  // a text that begins with BOS itself; of a conversation its template wrote two
    int64_t bytes_without_token = 0;
    int64_t answers = 0, open_answers = 0;  // of conversations, as in DatasetReport
};

class RecordTokenizer {
public:
    // All must outlive it. `vocab_size` is the model's.
    RecordTokenizer(const Tokenizer& tokenizer, int64_t vocab_size, const DataOptions& options)
        : tokenizer_(tokenizer), vocab_size_(vocab_size), options_(options) {}

    // Throws Error, by the record's place, for what the template or the tokenizer refuses.
    RecordTokens tokens(const Record& record);
    const ChatTemplate& chat();  // asked for when it is needed

    // A sample as it is, cut or split, or nothing, by what the options say of long ones.
    std::vector<Sample> fitted(const Sample& sample, bool document) const;
    bool fits(const Sample& sample) const { return sample.n_tokens() <= options_.max_length; }
    OnLong on_long(bool document) const;

private:
    RecordTokens plain_tokens(const Record& record) const;
    RecordTokens chat_tokens(const Record& record);
    size_t mark_answer(const std::vector<Token>& tokens, TextRange answer, std::string_view text,
                       std::vector<uint8_t>& has_loss) const;
    [[noreturn]] void refuse_token(int32_t id) const;
    Sample sample_of(const std::vector<Token>& tokens) const;

    const Tokenizer& tokenizer_;
    int64_t vocab_size_;
    const DataOptions& options_;
    std::optional<ChatTemplate> chat_;
};

}  // namespace ggq
