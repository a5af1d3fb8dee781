#include "models/data_choice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "ggq/error.h"
#include "ggq/io/input_file.h"
#include "models/figures.h"
#include "models/option_checks.h"

namespace ggq {

namespace {

std::optional<std::string> part_of(const std::string& folder, const std::vector<std::string>& parts) {
    for (const std::string& part : parts)
        for (const char* ending : {".jsonl", ".json", ".csv", ".tsv", ".txt"}) {
            const std::filesystem::path file = std::filesystem::path(folder) / (part + ending);
            if (is_there(file)) return file.string();
        }
    return std::nullopt;
}

}  // namespace

std::string file_of_data(const std::string& data, const std::vector<std::string>& parts) {
    if (!is_folder(data)) return data;
    const auto file = part_of(data, parts);
    require(file.has_value(), "{}: expected a file of data, or a folder with {}.jsonl (or .json, .csv, .tsv, .txt)",
            data, fmt::join(parts, " or "));
    return *file;
}

std::string validation_data(const std::string& data, const std::string& val_data, double val_split) {
    if (!val_data.empty()) return file_of_data(val_data, kTestParts);
    if (val_split > 0 || !is_folder(data)) return "";
    return part_of(data, {"valid", "validation"}).value_or("");
}

void validate(const DataChoice& choice) {
    if (choice.limit) require_positive("limit", *choice.limit);
    require_positive("max_length", choice.max_length);
    require(choice.max_length > 1, "`max_length`: expected 2 tokens or more, got {}", choice.max_length);
    require_positive("batch_size", choice.batch_size);
    require(choice.batch_size <= INT32_MAX / choice.max_length,
            "`batch_size` {} times `max_length` {}: expected at most {} tokens in a micro-batch", choice.batch_size,
            choice.max_length, INT32_MAX);
}

DataOptions data_options(const DataChoice& choice) {
    require(
        choice.chat_template.empty() || choice.template_name.empty() || choice.template_name == form_name(Form::chat),
        "`chat_template` names a file, and `template` is {}; give one of the two", choice.template_name);
    const bool chat = ChatTemplate::is_name(choice.template_name) || !choice.chat_template.empty();
    DataOptions d;
    d.records.form = chat ? form_name(Form::chat) : choice.template_name;
    d.chat_name = choice.template_name;
    d.chat_file = choice.chat_template;
    d.last_answer_only = choice.last_answer_only;
    d.records.text_field = choice.text_field;
    d.records.format = choice.format;
    d.records.documents = choice.documents;
    d.records.limit = choice.limit.value_or(-1);
    d.max_length = choice.max_length;
    d.on_long = choice.on_long;
    d.split_documents = !choice.on_long_given;
    d.train_on_prompt = choice.train_on_prompt;
    return d;
}

BatchOptions batch_options(const DataChoice& choice) {
    return {.batch_size = choice.batch_size,
            .max_length = choice.max_length,
            .grad_accum = 1,
            .packing = choice.packing,
            .shuffle = false};
}

Dataset load_samples(const std::string& path, const DataOptions& options, const Model& model, const StopAsked& stop) {
    const int64_t positions = model.config.max_position_embeddings;
    require(options.max_length <= positions, "`max_length` {}: the model has {} positions; use at most that many",
            options.max_length, positions);
    DataOptions complete = options;
    if (!complete.chat)
        complete.chat = [&] { return ChatTemplate::chosen(options.chat_name, options.chat_file, model.folder); };
    return load_dataset(path, model.tokenizer, model.config.vocab_size, complete, stop);
}

std::vector<std::string> describe(const DatasetReport& r, int64_t max_length, std::optional<int64_t> n_validation) {
    std::vector<std::string> lines;
    const std::string apart = n_validation ? fmt::format(" ({} for validation)", thousands(*n_validation)) : "";
    std::vector<std::string> forms;
    for (const Form form : r.forms) forms.push_back(form_name(form));
    lines.push_back(fmt::format("data: {} records as {}, {} samples{}, longest {} tokens", thousands(r.records),
                                fmt::join(forms, " and "), thousands(r.samples), apart, r.longest));
    lines.push_back(fmt::format("tokens: {}, of which {} carry loss ({:.1f} %)", thousands(r.tokens),
                                thousands(r.label_tokens), percent(r.label_tokens, r.tokens)));
    lines.push_back(fmt::format(
        "longer than {} tokens: {} dropped ({:.1f} %), {} cut; without a label: {}; double BOS: {}; missing EOS: {}; "
        "bytes without a token: {}",
        max_length, r.dropped, percent(r.dropped, r.records), r.cut, r.without_label, r.double_bos, r.missing_eos,
        r.bytes_without_token));
    return lines;
}

std::vector<std::string> warnings_of(const DatasetReport& r) {
    std::vector<std::string> lines;
    if (r.double_bos > 0)
        lines.push_back(fmt::format("{} texts begin with BOS themselves; no second one was added", r.double_bos));
    if (r.bytes_without_token > 0)
        lines.push_back(fmt::format("{} bytes in {} records are left out: the vocabulary has no token for them",
                                    r.bytes_without_token, r.records_without_token));
    if (r.open_answers > 0)
        lines.push_back(
            fmt::format("{} of {} answers are ended by no special token in the chat template: the model "
                        "will not learn to stop there",
                        r.open_answers, r.answers));
    return lines;
}

}  // namespace ggq
