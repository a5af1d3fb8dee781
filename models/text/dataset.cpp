#include "models/text/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/hash.h"
#include "ggq/io/utf8.h"
#include "models/text/shuffle.h"
#include "models/text/template.h"

namespace ggq {

namespace {

// A token without width (a "▁" put in front) counts as the byte that follows it.
bool overlaps(const Token& token, TextRange range) {
    return token.begin < range.end && std::max(token.end, token.begin + 1) > range.begin;
}

Sample part_of(const Sample& sample, int64_t begin, int64_t end) {
    Sample part{{sample.ids.begin() + begin, sample.ids.begin() + end},
                {sample.has_loss.begin() + begin, sample.has_loss.begin() + end}};
    part.has_loss[0] = 0;
    return part;
}

class Builder {
public:
    Builder(const Tokenizer& tokenizer, int64_t vocab_size, const DataOptions& options, std::string name)
        : tokenizer_(tokenizer), vocab_size_(vocab_size), options_(options), name_(std::move(name)) {
        require(tokenizer.eos_id().has_value(),
                "{}: the tokenizer names no eos_token to end a sample; add it to tokenizer_config.json", name_);
    }

    // Returns how many samples it became.
    int64_t add(const Record& record, Samples& samples) {
        const int64_t n_before = report_.samples;
        ++report_.records;
        if (std::ranges::find(report_.forms, record.form) == report_.forms.end()) report_.forms.push_back(record.form);
        for (const Sample& sample : fitted(tokenize(record), record.document)) {
            const int64_t n_labels = sample.n_label_tokens();
            if (n_labels == 0) {
                ++report_.without_label;
                continue;
            }
            ++report_.samples;
            report_.tokens += sample.n_tokens();
            report_.label_tokens += n_labels;
            report_.longest = std::max(report_.longest, sample.n_tokens());
            const bool ends = record.form == Form::chat || record.document || sample.ids.back() == *tokenizer_.eos_id();
            report_.missing_eos += ends ? 0 : 1;
            samples.push_back(sample);
        }
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
    Sample tokenize(const Record& record) {
        if (!record.chat.empty()) return tokenize_chat(record);
        const RenderedText rendered = render(record);
        std::vector<Token> tokens = encode(rendered.text, record);
        const int32_t eos = *tokenizer_.eos_id();
        if (tokens.empty() || tokens.back().id != eos)
            tokens.push_back({eos, rendered.text.size(), rendered.text.size()});

        Sample sample = sample_of(tokens, record);
        for (size_t i = 0; i < tokens.size(); ++i)
            sample.has_loss[i] = options_.train_on_prompt || overlaps(tokens[i], rendered.answer);
        sample.has_loss.back() = 1;
        sample.has_loss.front() = 0;
        return sample;
    }

    Sample tokenize_chat(const Record& record) {
        ChatText chat = rendered_chat(record);
        if (options_.last_answer_only && chat.answers.size() > 1)
            chat.answers.erase(chat.answers.begin(), chat.answers.end() - 1);
        std::vector<Token> tokens = tokenizer_.encode_with_offsets(chat.text, {.add_special = false});
        const size_t n_bos = leading_bos(tokens);
        report_.double_bos += n_bos > 1 ? 1 : 0;
        std::vector<uint8_t> has_loss(tokens.size(), options_.train_on_prompt ? 1 : 0);
        for (const TextRange& answer : chat.answers) {
            ++report_.answers;
            const size_t end = mark_answer(tokens, answer, chat.text, has_loss);
            if (end < tokens.size()) continue;
            ++report_.open_answers;
            if (&answer != &chat.answers.back()) continue;
            tokens.push_back({*tokenizer_.eos_id(), chat.text.size(), chat.text.size()});
            has_loss.push_back(1);
        }
        Sample sample = sample_of(tokens, record);
        sample.has_loss = std::move(has_loss);
        if (!sample.has_loss.empty()) sample.has_loss.front() = 0;
        return sample;
    }

    ChatText rendered_chat(const Record& record) {
        try {
            if (!chat_) chat_ = options_.chat();
            return chat_->render(record.chat, false);
        } catch (const Error& error) {
            fail("{}: {}", record.place, error.what());
        }
    }

    size_t leading_bos(const std::vector<Token>& tokens) const {
        size_t n = 0;
        while (n < tokens.size() && tokenizer_.bos_id() == tokens[n].id) ++n;
        return n;
    }

    // An answer's tokens, and those behind it up to the special one that ends it, if only white space is between.
    // Returns which one that is; where there is none, tokens.size().
    size_t mark_answer(const std::vector<Token>& tokens, TextRange answer, std::string_view text,
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

    static bool is_blank(std::string_view text, const Token& token) {
        const std::string_view bytes = text.substr(token.begin, token.end - token.begin);
        return bytes.find_first_not_of(" \t\r\n") == std::string_view::npos;
    }

    // Without any loss yet.
    Sample sample_of(const std::vector<Token>& tokens, const Record& record) const {
        Sample sample;
        for (const Token& token : tokens) {
            if (token.id >= vocab_size_) refuse_token(token.id, record);
            sample.ids.push_back(token.id);
        }
        sample.has_loss.assign(tokens.size(), 0);
        return sample;
    }

    std::vector<Token> encode(const std::string& text, const Record& record) {
        try {
            OpenText open = tokenizer_.encode_open(text);
            report_.double_bos += open.has_bos ? 1 : 0;
            report_.bytes_without_token += open.n_dropped;
            report_.records_without_token += open.n_dropped > 0 ? 1 : 0;
            return std::move(open.tokens);
        } catch (const Error& error) {
            fail("{}: {}", record.place, error.what());
        }
    }

    [[noreturn]] void refuse_token(int32_t id, const Record& record) const {
        fail("{}: token {} ('{}') is beyond the model's vocabulary of {}; tokenizer and model do not belong together",
             record.place, id, shown(tokenizer_.token_of(id)), vocab_size_);
    }

    std::vector<Sample> fitted(const Sample& sample, bool document) {
        const int64_t n = sample.n_tokens(), most = options_.max_length;
        const OnLong on_long = document && options_.split_documents ? OnLong::split : options_.on_long;
        shortest_ = shortest_ == 0 ? n : std::min(shortest_, n);
        if (n <= most) return {sample};
        if (on_long == OnLong::drop) {
            ++report_.dropped;
            return {};
        }
        ++report_.cut;
        if (on_long == OnLong::cut_right) return {part_of(sample, 0, most)};
        if (on_long == OnLong::cut_left) {
            Sample part = part_of(sample, n - most, n);
            if (tokenizer_.bos_id() == sample.ids[0]) part.ids[0] = sample.ids[0];
            return {part};
        }
        std::vector<Sample> parts;
        for (int64_t begin = 0; begin < n; begin += most) {
            parts.push_back(part_of(sample, begin, std::min(begin + most, n)));
        }
        return parts;
    }

    const Tokenizer& tokenizer_;
    int64_t vocab_size_;
    const DataOptions& options_;
    std::string name_;
    std::optional<ChatTemplate> chat_;
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
