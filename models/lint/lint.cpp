#include "models/lint/lint.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <unordered_map>

#include "ggq/error.h"
#include "ggq/io/hash.h"
#include "ggq/io/utf8.h"
#include "models/data_choice.h"
#include "models/figures.h"
#include "models/lint/record_checks.h"
#include "models/model.h"
#include "models/untrained_end.h"

namespace ggq {

namespace {

constexpr int64_t kMostUnreadable = 1000;  // records; then the file is of another kind

uint64_t hash_of(const Sample& sample) {
    Hash64 hash;
    hash.update(sample.ids.data(), sample.n_tokens() * static_cast<int64_t>(sizeof(int32_t)));
    return hash.value();
}

class Linter {
public:
    Linter(const TrainOptions& options, const Model& model, const Events& events)
        : options_(data_options(options)),
          model_(model),
          events_(events),
          maker_(tokenizer(), n_vocabulary(), options_) {
        require(tokenizer().eos_id().has_value(),
                "{}: the tokenizer names no eos_token to end a sample; add it to tokenizer_config.json", options.data);
        options_.chat = [this] { return ChatTemplate::chosen(options_.chat_name, options_.chat_file, model_.folder); };
    }

    void look_at(const std::string& paths, bool validation) {
        validation_ = validation;
        RecordOptions all = options_.records;
        if (validation) all.limit = -1;
        RecordReader reader(data_files(paths), all);
        int64_t n_unreadable = 0;
        while (n_unreadable < kMostUnreadable) {
            try {
                end_if_asked(events_.stop);
                const std::optional<Record> record = reader.next();
                if (!record) return;
                look_at(*record);
            } catch (const Error& error) {
                if (error.what() == last_error_) return;  // it goes no further
                last_error_ = error.what();
                ++report_.records, ++n_unreadable;
                report_.add(LintKind::unreadable, "", last_error_);
            }
        }
    }

    LintReport finish(const std::string& paths) {
        if (report_.tokens > 0) look_at_shares(paths);
        look_at_specials(paths);
        look_at_template(paths);
        return std::move(report_);
    }

private:
    const Tokenizer& tokenizer() const { return model_.tokenizer; }
    int64_t n_vocabulary() const { return model_.config.vocab_size; }

    void look_at(const Record& record) {
        const auto found = [&](LintKind kind, const std::optional<std::string>& text) {
            if (text) report_.add(kind, record.place, *text);
        };
        if (!record.chat.empty()) found(LintKind::turn_order, wrong_turn(record.chat));
        const RecordTokens whole = maker_.tokens(record);
        ++report_.records;
        forms_.insert(record.form);
        const std::optional<std::string> empty = empty_answer(record);
        found(LintKind::empty_answer, empty);
        found(LintKind::double_end, double_end(whole.sample, tokenizer()));
        if (!record.chat.empty()) found(LintKind::prompt_mismatch, prompt_mismatch(record.chat, maker_.chat()));
        look_at_words(record);
        look_at_ends(record, whole);
        look_at_length(record, whole.sample);
        look_for_twin(record, whole.sample);
        for (const int32_t id : whole.sample.ids)
            if (tokenizer().is_special(id)) specials_.insert(id);
    }

    void look_at_words(const Record& record) {
        std::set<std::string> special, unknown;
        for (const std::string& words : words_of(record)) {
            for (const std::string& token : specials_in(words, tokenizer())) special.insert(token);
            for (const std::string& mark : unknown_specials(words, tokenizer())) unknown.insert(mark);
        }
        for (const std::string& token : special)
            report_.add(LintKind::special_text, record.place,
                        fmt::format("'{}' in the text becomes that special token", shown(token)));
        for (const std::string& mark : unknown)
            report_.add(LintKind::unknown_special, record.place,
                        fmt::format("'{}' in the text is no token of this tokenizer", shown(mark)));
    }

    void look_at_ends(const Record& record, const RecordTokens& whole) {
        if (whole.double_bos && !record.chat.empty())
            report_.add(LintKind::double_bos, record.place, "the text begins with BOS twice");
        if (whole.open_answers > 0)
            report_.add(
                LintKind::open_answer, record.place,
                fmt::format("{} of {} answers are ended by no special token", whole.open_answers, whole.answers));
        if (whole.bytes_without_token > 0)
            report_.add(LintKind::no_token, record.place,
                        fmt::format("{} bytes have no token", whole.bytes_without_token));
    }

    void look_at_length(const Record& record, const Sample& sample) {
        const std::vector<Sample> parts = maker_.fitted(sample, record.document);
        const bool fits = maker_.fits(sample);
        const std::string size = fmt::format("{} tokens, and a row holds {}", sample.n_tokens(), options_.max_length);
        int64_t n_labels = 0;
        for (const Sample& part : parts) {
            if (part.n_label_tokens() == 0) continue;
            n_labels += part.n_label_tokens();
            ++report_.samples;
            report_.tokens += part.n_tokens();
        }
        report_.label_tokens += n_labels;
        if (parts.empty()) report_.add(LintKind::too_long, record.place, size);
        else if (n_labels == 0)
            report_.add(LintKind::no_label, record.place,
                        fits ? "no token carries loss" : "no token that carries loss is left: " + size);
        else if (!fits && !record.document && parts.back().ids.back() != sample.ids.back())
            report_.add(LintKind::cut, record.place, "its end is cut: " + size);
    }

    void look_for_twin(const Record& record, const Sample& sample) {
        const auto [twin, is_new] = places_.emplace(hash_of(sample), Place{record.place, validation_});
        if (is_new) return;
        const bool overlap = validation_ && !twin->second.validation;
        report_.add(overlap ? LintKind::overlap : LintKind::duplicate, record.place,
                    (overlap ? "is in the training data: " : "the same as ") + twin->second.name);
    }

    void look_at_shares(const std::string& paths) {
        const double share = percent(report_.label_tokens, report_.tokens);
        if (share < 1)
            report_.add(LintKind::labels, paths, fmt::format("only {:.2f} % of the tokens carry loss", share));
        if (report_.label_tokens + report_.samples >= report_.tokens && !forms_.contains(Form::text))
            report_.add(LintKind::labels, paths, "every token carries loss, the prompts' too");
    }

    void look_at_specials(const std::string& paths) {
        for (const UntrainedToken& token : untrained_tokens(model_, {specials_.begin(), specials_.end()}))
            report_.add(
                LintKind::untrained_token, paths,
                fmt::format("'{}' ({}): its embedding {}", shown(tokenizer().token_of(token.id)), token.id, token.why));
    }

    void look_at_template(const std::string& paths) {
        if (forms_.contains(Form::chat)) {
            const Conversation probe = single_turn("", "x", &kProbe);
            for (const std::string& mark : unknown_specials(maker_.chat().render(probe, false).text, tokenizer()))
                report_.add(LintKind::unknown_special, paths,
                            fmt::format("'{}' in the chat template is no token of this tokenizer", shown(mark)));
        }
        for (const Form form : forms_)
            if (form != Form::chat && form != Form::text && tokenizer().has_chat_template())
                report_.add(
                    LintKind::other_template, paths,
                    fmt::format("data as {}, and the model has a chat template (`template` chat)", form_name(form)));
    }

    struct Place {
        std::string name;
        bool validation;
    };
    inline static const std::string kProbe = "x";

    DataOptions options_;
    const Model& model_;
    const Events& events_;
    RecordTokenizer maker_;
    LintReport report_;
    bool validation_ = false;
    std::string last_error_;
    std::set<Form> forms_;
    std::set<int32_t> specials_;
    std::unordered_map<uint64_t, Place> places_;  // by hash of the tokens
};

}  // namespace

int64_t LintReport::n_errors() const {
    int64_t n = 0;
    for (const LintKindRow& row : kLintKinds) n += row.is_error ? count(row.kind) : 0;
    return n;
}

int64_t LintReport::n_warnings() const {
    int64_t n = 0;
    for (const LintKindRow& row : kLintKinds) n += row.is_error ? 0 : count(row.kind);
    return n;
}

void LintReport::add(LintKind kind, std::string place, std::string text) {
    if (++counts[static_cast<size_t>(kind)] <= kMostOfAKind)
        findings.push_back({kind, std::move(place), std::move(text)});
}

LintReport lint(const TrainOptions& options, const Events& events) {
    validate(static_cast<const DataChoice&>(options));
    const Model model = open_model(options.base.model);
    Linter linter(options, model, events);
    linter.look_at(file_of_data(options.data, kTrainingParts), false);
    const std::string validation = validation_data(options.data, options.val_data, options.val_split);
    if (!validation.empty()) linter.look_at(validation, true);
    return linter.finish(options.data);
}

std::vector<std::string> describe(const LintReport& report, int64_t most_of_a_kind) {
    std::vector<std::string> lines;
    std::array<int64_t, kLintKinds.size()> n_shown{};
    for (const LintFinding& f : report.findings) {
        if (++n_shown[static_cast<size_t>(f.kind)] > most_of_a_kind) continue;
        lines.push_back(fmt::format("{}{}: {}", f.place.empty() ? "" : f.place + ": ", row_of(f.kind).name, f.text));
    }
    if (!lines.empty()) lines.push_back("");
    for (const LintKindRow& row : kLintKinds)
        if (report.count(row.kind) > 0)
            lines.push_back(fmt::format("{:<16} {:<8} {:>8}  {}", row.name, row.is_error ? "error" : "warning",
                                        thousands(report.count(row.kind)), row.advice));
    lines.push_back(fmt::format(
        "{} records, {} samples, {} tokens, of which {:.1f} % carry loss: {} errors, {} warnings",
        thousands(report.records), thousands(report.samples), thousands(report.tokens),
        percent(report.label_tokens, report.tokens), thousands(report.n_errors()), thousands(report.n_warnings())));
    return lines;
}

nlohmann::ordered_json to_json(const LintReport& report) {
    nlohmann::ordered_json counts = nlohmann::ordered_json::object(), findings = nlohmann::ordered_json::array();
    for (const LintKindRow& row : kLintKinds)
        if (report.count(row.kind) > 0) counts[std::string(row.name)] = report.count(row.kind);
    for (const LintFinding& f : report.findings)
        findings.push_back({{"kind", row_of(f.kind).name},
                            {"severity", row_of(f.kind).is_error ? "error" : "warning"},
                            {"place", f.place},
                            {"text", f.text}});
    return {{"records", report.records},           {"samples", report.samples},      {"tokens", report.tokens},
            {"label_tokens", report.label_tokens}, {"errors", report.n_errors()},    {"warnings", report.n_warnings()},
            {"counts", std::move(counts)},         {"findings", std::move(findings)}};
}

}  // namespace ggq
