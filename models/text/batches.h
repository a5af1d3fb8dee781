// From samples to micro-batches of a fixed number of tokens, in an order that depends on (seed, epoch) alone.
//
// A micro-batch is one flat run of T tokens in which several documents (samples) lie one after the other:
//   ids        [T]     unused tail tokens: 0
//   labels     [T]     the next token's id if it belongs to the same document and carries loss, else
//                      kIgnoredLabel
//   positions  [T]     from 0 in each document; unused: 0
//   spans      [T][2]  the keys that query t sees, [first, last): its document's start and t + 1; unused: t and t + 1
//
// With packing T = batch_size * max_length: rows of max_length tokens, no document crosses a row. Documents are put
// into rows once, in a shuffled order, each into the first of the 32 rows still open in which it fits; each epoch
// shuffles the rows. So the number of micro-batches is the same in every epoch, and what shares a row has nothing in
// common. Without packing a micro-batch is batch_size samples end to end and T the smallest of at most four lengths
// that holds them: thirds of what the first epochs need, the most they need, and the most that any order could need.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/params.h"
#include "models/text/dataset.h"

namespace ggq {

struct BatchOptions {
    int64_t batch_size = 4;
    int64_t max_length = 512;
    int64_t grad_accum = 4;
    bool packing = true;
    bool shuffle = true;  // off for validation: the samples in the order of the data
    uint64_t seed = 42;
};

struct MicroBatch {
    std::vector<int32_t> ids;
    std::vector<int32_t> labels;
    std::vector<int32_t> positions;
    std::vector<int32_t> spans;  // [T][2]
    int64_t n_samples = 0;
    int64_t n_tokens = 0;      // that belong to a document
    int64_t label_tokens = 0;  // labels other than kIgnoredLabel

    int64_t length() const { return static_cast<int64_t>(ids.size()); }  // T
};

// T tokens that belong to no document.
MicroBatch blank_batch(int64_t length);

// What one step of the optimizer sees: grad_accum micro-batches, fewer at the end of an epoch.
struct Update {
    std::vector<MicroBatch> micro_batches;
    int64_t n_samples = 0;
    int64_t n_tokens = 0;
    int64_t label_tokens = 0;
};

class Batches {
public:
    // None of the samples may be longer than max_length.
    Batches(Samples samples, const BatchOptions& options);

    int64_t n_micro_batches() const;                                  // of an epoch
    int64_t n_updates() const;                                        // of an epoch
    const std::vector<int64_t>& lengths() const { return lengths_; }  // every T that can occur, rising

    // The order of an epoch, to be given to update(); epochs count from 0.
    std::vector<int64_t> order(int64_t epoch) const;
    Update update(std::span<const int64_t> order, int64_t index) const;
    MicroBatch micro_batch(std::span<const int64_t> order, int64_t index) const;

private:
    using Row = std::vector<int64_t>;  // indices of the samples that lie in it

    void pack_rows();
    std::vector<int64_t> find_lengths() const;
    int64_t tokens_of(std::span<const int64_t> order, int64_t index) const;
    std::span<const int64_t> rows_of(std::span<const int64_t> order, int64_t index) const;
    Sample sample(int64_t index) const { return samples_[static_cast<size_t>(index)]; }
    int64_t length_of(int64_t sample) const { return samples_.n_tokens(static_cast<size_t>(sample)); }
    const Row& row(int64_t index) const { return rows_[static_cast<size_t>(index)]; }

    Samples samples_;
    BatchOptions options_;
    std::vector<Row> rows_;  // without packing one sample each
    std::vector<int64_t> lengths_;
};

}  // namespace ggq
