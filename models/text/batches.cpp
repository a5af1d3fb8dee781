#include "models/text/batches.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "ggq/error.h"
#include "kernels/rounding.h"
#include "models/text/shuffle.h"

namespace ggq {

namespace {

constexpr size_t kOpenRows = 32;
constexpr int64_t kLengthStep = 16;     // lengths without packing are multiples of this
constexpr int64_t kEpochsLookedAt = 4;  // to learn which lengths occur without packing

void place(const Sample& sample, int64_t at, MicroBatch& batch) {
    const size_t n = sample.ids.size(), start = static_cast<size_t>(at);
    for (size_t i = 0; i < n; ++i) {
        const bool has_label = i + 1 < n && sample.has_loss[i + 1] != 0;
        batch.ids[start + i] = sample.ids[i];
        batch.labels[start + i] = has_label ? sample.ids[i + 1] : kIgnoredLabel;
        batch.positions[start + i] = static_cast<int32_t>(i);
        batch.spans[2 * (start + i)] = static_cast<int32_t>(start);
        batch.label_tokens += has_label;
    }
    batch.n_samples += 1;
    batch.n_tokens += sample.n_tokens();
}

}  // namespace

MicroBatch blank_batch(int64_t length) {
    MicroBatch batch;
    batch.ids.assign(static_cast<size_t>(length), 0);
    batch.labels.assign(static_cast<size_t>(length), kIgnoredLabel);
    batch.positions.assign(static_cast<size_t>(length), 0);
    for (int32_t t = 0; t < length; ++t) batch.spans.insert(batch.spans.end(), {t, t + 1});
    return batch;
}

Batches::Batches(Samples samples, const BatchOptions& options) : samples_(std::move(samples)), options_(options) {
    GGQ_ASSERT(options.batch_size > 0 && options.grad_accum > 0 && options.max_length > 0);
    GGQ_ASSERT(options.batch_size <= INT32_MAX / options.max_length);
    require(!samples_.empty(), "batches: expected samples, got none");
    const auto n_samples = static_cast<int64_t>(samples_.size());
    for (int64_t i = 0; i < n_samples; ++i) {
        require(length_of(i) <= options.max_length, "batches: a sample has {} tokens, expected at most {}",
                length_of(i), options.max_length);
    }
    if (options.packing) {
        pack_rows();
        lengths_ = {options.batch_size * options.max_length};
    } else {
        for (int64_t i = 0; i < n_samples; ++i) rows_.push_back({i});
        lengths_ = find_lengths();
    }
}

void Batches::pack_rows() {
    struct OpenRow {
        size_t index;
        int64_t free;
    };
    std::vector<OpenRow> open;
    const auto n_samples = static_cast<int64_t>(samples_.size());
    std::vector<int64_t> documents(samples_.size());
    std::iota(documents.begin(), documents.end(), 0);
    if (options_.shuffle) documents = shuffled(n_samples, ShuffleFor::packing, options_.seed);
    for (const int64_t document : documents) {
        const int64_t n_tokens = length_of(document);
        auto fitting = std::find_if(open.begin(), open.end(), [&](const OpenRow& one) { return one.free >= n_tokens; });
        if (fitting == open.end()) {
            if (open.size() == kOpenRows) open.erase(open.begin());
            open.push_back({rows_.size(), options_.max_length});
            rows_.emplace_back();
            fitting = open.end() - 1;
        }
        rows_[fitting->index].push_back(document);
        fitting->free -= n_tokens;
        if (fitting->free == 0) open.erase(fitting);
    }
}

std::vector<int64_t> Batches::find_lengths() const {
    std::vector<int64_t> needed;
    for (int64_t epoch = 0; epoch < (options_.shuffle ? kEpochsLookedAt : 1); ++epoch) {
        const auto rows = order(epoch);
        for (int64_t i = 0; i < n_micro_batches(); ++i) needed.push_back(tokens_of(rows, i));
    }
    std::sort(needed.begin(), needed.end());
    std::vector<int64_t> lengths = {needed[needed.size() / 3], needed[needed.size() * 2 / 3], needed.back()};
    if (options_.shuffle) {
        std::vector<int64_t> sizes;
        for (size_t i = 0; i < samples_.size(); ++i) sizes.push_back(samples_.n_tokens(i));
        std::sort(sizes.rbegin(), sizes.rend());
        const auto n = std::min(std::ssize(sizes), options_.batch_size);
        lengths.push_back(std::accumulate(sizes.begin(), sizes.begin() + n, int64_t{0}));
    }
    for (int64_t& length : lengths) length = round_up(length, kLengthStep);
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
    return lengths;
}

int64_t Batches::n_micro_batches() const { return ceil_div(std::ssize(rows_), options_.batch_size); }

int64_t Batches::n_updates() const { return ceil_div(n_micro_batches(), options_.grad_accum); }

std::vector<int64_t> Batches::order(int64_t epoch) const {
    if (options_.shuffle) {
        return shuffled(std::ssize(rows_), ShuffleFor::epoch, options_.seed, static_cast<uint64_t>(epoch));
    }
    std::vector<int64_t> rows(rows_.size());
    std::iota(rows.begin(), rows.end(), 0);
    return rows;
}

std::span<const int64_t> Batches::rows_of(std::span<const int64_t> order, int64_t index) const {
    GGQ_ASSERT(order.size() == rows_.size() && index >= 0 && index < n_micro_batches(), fmt::format("{}", index));
    const int64_t begin = index * options_.batch_size;
    const int64_t end = std::min(begin + options_.batch_size, std::ssize(rows_));
    return order.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
}

int64_t Batches::tokens_of(std::span<const int64_t> order, int64_t index) const {
    int64_t n_tokens = 0;
    for (const int64_t each : rows_of(order, index)) {
        for (const int64_t document : row(each)) n_tokens += length_of(document);
    }
    return n_tokens;
}

MicroBatch Batches::micro_batch(std::span<const int64_t> order, int64_t index) const {
    const int64_t length = *std::lower_bound(lengths_.begin(), lengths_.end(), tokens_of(order, index));
    MicroBatch batch = blank_batch(length);
    int64_t at = 0, row_begin = 0;
    for (const int64_t each : rows_of(order, index)) {
        if (options_.packing) at = row_begin;
        for (const int64_t document : row(each)) {
            place(sample(document), at, batch);
            at += length_of(document);
        }
        row_begin += options_.max_length;
    }
    return batch;
}

Update Batches::update(std::span<const int64_t> order, int64_t index) const {
    Update update;
    const int64_t begin = index * options_.grad_accum;
    const int64_t end = std::min(begin + options_.grad_accum, n_micro_batches());
    for (int64_t i = begin; i < end; ++i) {
        MicroBatch batch = micro_batch(order, i);
        update.n_samples += batch.n_samples;
        update.n_tokens += batch.n_tokens;
        update.label_tokens += batch.label_tokens;
        update.micro_batches.push_back(std::move(batch));
    }
    return update;
}

}  // namespace ggq
