#include "models/text/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/hash.h"
#include "ggq/io/utf8.h"
#include "models/text/record_tokens.h"
#include "models/text/shuffle.h"

namespace ggq {

namespace {

class Builder {
public:
    Builder(const Tokenizer& tokenizer, int64_t vocab_size, const DataOptions& options, std::string name)
        : tokenizer_(tokenizer), options_(options), name_(std::move(name)), maker_(tokenizer, vocab_size, options) {
        require(tokenizer.eos_id().has_value(),
                "{}: the tokenizer names no eos_token to end a sample; add it to tokenizer_config.json", name_);
    }

    // Returns how many samples it became.
    int64_t add(const Record& record, Samples& samples) {
        const int64_t n_before = report_.samples;
        const RecordTokens whole = maker_.tokens(record);
        count(record, whole);
        for (const Sample& sample : maker_.fitted(whole.sample, record.document)) add(record, sample, samples);
        return report_.samples - n_before;
    }

    void require_samples() const {
        require(report_.dropped < report_.records,
                "{}: every one of {} samples is longer than {} tokens (the shortest has {}); raise `max_length`, or "
                "let `on_long` cut or split them",
                name_, report_.records, options_.max_length, shortest_);
        require(report_.samples > 0, "{}: no sample has a token that carries loss ({} of {} were left out for that)",
                name_, report_.without_label, report_.records);
    }

    const DatasetReport& report() const { return report_; }

private:
    void count(const Record& record, const RecordTokens& whole) {
        DatasetReport& r = report_;
        ++r.records;
        if (std::ranges::find(r.forms, record.form) == r.forms.end()) r.forms.push_back(record.form);
        r.double_bos += whole.double_bos ? 1 : 0;
        r.bytes_without_token += whole.bytes_without_token;
        r.records_without_token += whole.bytes_without_token > 0 ? 1 : 0;
        r.answers += whole.answers;
        r.open_answers += whole.open_answers;
        shortest_ = r.records == 1 ? whole.sample.n_tokens() : std::min(shortest_, whole.sample.n_tokens());
        if (maker_.fits(whole.sample)) return;
        ++(maker_.on_long(record.document) == OnLong::drop ? r.dropped : r.cut);
    }

    void add(const Record& record, const Sample& sample, Samples& samples) {
        const int64_t n_labels = sample.n_label_tokens();
        if (n_labels == 0) {
            ++report_.without_label;
            return;
        }
        ++report_.samples;
        report_.tokens += sample.n_tokens();
        report_.label_tokens += n_labels;
        report_.longest = std::max(report_.longest, sample.n_tokens());
        const bool ends = record.form == Form::chat || record.document || sample.ids.back() == *tokenizer_.eos_id();
        report_.missing_eos += ends ? 0 : 1;
        samples.push_back(sample);
    }

    const Tokenizer& tokenizer_;
    const DataOptions& options_;
    std::string name_;
    RecordTokenizer maker_;
    DatasetReport report_;
    int64_t shortest_ = 0;
};

uint64_t hash_of(const Dataset& dataset) {
    Hash64 hash;
    for (const auto* samples : {&dataset.train, &dataset.validation}) {
        for (const Sample& sample : *samples) {
            const int64_t n = sample.n_tokens();
            hash.update(&n, sizeof n);
            hash.update(sample.ids.data(), n * static_cast<int64_t>(sizeof(int32_t)));
            hash.update(sample.has_loss.data(), n);
        }
    }
    return hash.value();
}

// Which of n records are kept for validation.
std::vector<bool> validation_records(int64_t n, double share) {
    std::vector<bool> chosen(static_cast<size_t>(n), false);
    const int64_t n_chosen = std::llround(share * static_cast<double>(n));
    require(
        share == 0 || (n_chosen > 0 && n_chosen < n),
        "a validation share of {} of {} records leaves {} for validation and {} for training, expected at least 1 each",
        share, n, n_chosen, n - n_chosen);
    const auto order = shuffled(n, ShuffleFor::validation, 0);
    for (int64_t i = 0; i < n_chosen; ++i) chosen[static_cast<size_t>(order[static_cast<size_t>(i)])] = true;
    return chosen;
}

// Those of the records that were chosen become the validation's.
void split_off(Dataset& dataset, const std::vector<bool>& chosen, const std::vector<int64_t>& n_samples) {
    const Samples all = std::exchange(dataset.train, Samples(dataset.train.store()));
    dataset.validation = Samples(all.store());
    size_t at = 0;
    for (size_t record = 0; record < chosen.size(); ++record)
        for (int64_t i = 0; i < n_samples[record]; ++i)
            (chosen[record] ? dataset.validation : dataset.train).push_back(all, at++);
}

}  // namespace

Dataset load_dataset(const std::string& paths, const Tokenizer& tokenizer, int64_t vocab_size,
                     const DataOptions& options, const StopAsked& stop) {
    GGQ_ASSERT(options.max_length >= 2 && options.val_split >= 0 && options.val_split < 1);
    RecordReader reader(data_files(paths), options.records);
    Builder builder(tokenizer, vocab_size, options, paths);
    Dataset dataset;
    dataset.train = Samples(std::make_shared<TokenStore>(options.most_held_tokens));
    std::vector<int64_t> n_samples;  // of each record
    while (const std::optional<Record> record = reader.next()) {
        end_if_asked(stop);
        n_samples.push_back(builder.add(*record, dataset.train));
    }
    if (options.val_split > 0)
        split_off(dataset, validation_records(std::ssize(n_samples), options.val_split), n_samples);
    builder.require_samples();
    require(!dataset.train.empty(), "{}: no training sample is left beside the {} for validation", paths,
            dataset.validation.size());
    require(options.val_split == 0 || !dataset.validation.empty(), "{}: no sample for validation is left", paths);
    dataset.report = builder.report();
    dataset.hash = hash_of(dataset);
    return dataset;
}

std::string show_sample(const Sample& sample, const Tokenizer& tokenizer) {
    std::string text =
        fmt::format("{}\n--- {} tokens, {} carry loss\nposition      id  loss  token\n",
                    printable(tokenizer.decode(sample.ids, false)), sample.n_tokens(), sample.n_label_tokens());
    for (size_t i = 0; i < sample.ids.size(); ++i) {
        text += fmt::format("{:8} {:7}  {:>4}  {}\n", i, sample.ids[i], sample.has_loss[i] ? "yes" : "-",
                            shown(tokenizer.token_of(sample.ids[i])));
    }
    return text;
}

}  // namespace ggq
