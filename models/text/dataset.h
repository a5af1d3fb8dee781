// Samples ready for training: token ids, and which of them carry loss.
//
// A record is put into its template, tokenized once as a whole behind what the tokenizer's post-processor puts before a
// text, and ended with EOS. A token carries loss when it overlaps the answer's bytes; EOS always does. A conversation's
// template writes all of that itself, BOS too: nothing is put before its text, and behind it EOS only where its last
// answer is ended by no special token. The special token that ends an answer carries loss with it. The first token
// of a sample is predicted from nothing, so it never does. What was cut, dropped or odd is counted, so that it can be
// said before training begins.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/text/chat_template.h"
#include "models/text/records.h"
#include "models/text/samples.h"
#include "models/text/tokenizer.h"

namespace ggq {

enum class OnLong { drop, cut_left, cut_right, split };

struct DataOptions {
    RecordOptions records;
    int64_t max_length = 512;       // of a sample in tokens, BOS and EOS included
    OnLong on_long = OnLong::drop;  // cut_left keeps BOS and the end, cut_right the beginning, split all in pieces
    bool split_documents = false;   // of plain text files, instead of dropping long ones
    bool train_on_prompt = false;
    bool last_answer_only = false;       // of a conversation only its last answer carries loss
    std::string chat_name, chat_file;    // of a template, for whoever makes `chat`
    std::function<ChatTemplate()> chat;  // asked for when the data are conversations
    double val_split = 0;                // share of the records kept for validation, the same ones in every run
    int64_t most_held_tokens = TokenStore::kMostHeld;  // in memory; more of them lie in a temporary file
};

// Sums over training and validation samples.
struct DatasetReport {
    std::vector<Form> forms;    // of the records, in the order in which they came up
    int64_t records = 0;        // read
    int64_t samples = 0;        // kept
    int64_t cut = 0;            // records longer than max_length that were cut or split
    int64_t dropped = 0;        // records longer than max_length that were left out
    int64_t without_label = 0;  // samples or pieces that carried no loss and were left out
    int64_t tokens = 0;
    int64_t label_tokens = 0;
    int64_t longest = 0;                // tokens of the longest sample kept
    int64_t double_bos = 0;             // texts that begin with BOS already; no second one was added
    int64_t bytes_without_token = 0;    // left out, as the tokenizers library does
    int64_t records_without_token = 0;  // which had such bytes
    int64_t missing_eos = 0;            // samples that do not end in EOS, because they were cut or split; but documents
    int64_t answers = 0;                // of conversations, that carry loss
    int64_t open_answers = 0;           // of them, without a special token that ends them
};

struct Dataset {
    Samples train;
    Samples validation;
    DatasetReport report;
    // Hash64 over the samples, training first: for each the number of tokens as 8 bytes, each id as 4 bytes, low byte
    // first, and has_loss as 1 byte a token.
    uint64_t hash = 0;
};

// `paths` is what data_files() takes. `vocab_size` is the model's; a token beyond it is refused.
Dataset load_dataset(const std::string& paths, const Tokenizer& tokenizer, int64_t vocab_size,
                     const DataOptions& options, const StopAsked& stop = {});

// A sample for people to check: its text, then a line a token with position, id, loss and spelling.
std::string show_sample(const Sample& sample, const Tokenizer& tokenizer);

}  // namespace ggq
