#include "models/text/records.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "ggq/error.h"
#include "ggq/io/input_file.h"
#include "ggq/io/utf8.h"
#include "models/option_table.h"
#include "models/text/named_templates.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;  // templates write messages and tools in the order in which they came

constexpr OptionName<Form> kFormNames[] = {{Form::alpaca, "alpaca"},
                                           {Form::alpaca_short, "alpaca-short"},
                                           {Form::completion, "completion"},
                                           {Form::text, "text"},
                                           {Form::chat, "chat"}};
constexpr const char* kForms =
    "messages or conversations (chat), instruction and output (alpaca), prompt and completion, or text";

std::string keys_of(const json& object) {
    std::string keys;
    for (const auto& [key, value] : object.items()) keys += (keys.empty() ? "" : ", ") + key;
    return keys.empty() ? "no keys" : "keys " + shown(keys);
}

bool is_text(const json& item, const char* key) { return item.contains(key) && item[key].is_string(); }

// Earlier turns of an Alpaca record, [[question, answer], ...], as LLaMA-Factory has them.
bool has_history(const json& item) {
    return item.contains("history") && item["history"].is_array() && !item["history"].empty();
}

std::optional<Form> form_of(const json& item) {
    if (is_conversation(item)) return Form::chat;
    if (item.contains("instruction") && item.contains("output")) return Form::alpaca;
    if (item.contains("prompt") && item.contains("completion")) return Form::completion;
    if (item.contains("text")) return Form::text;
    return std::nullopt;
}

bool has_form(const json& item, Form form) {
    const std::optional<Form> own = form_of(item);
    return own == form || (form == Form::text && item.contains("text"));
}

}  // namespace

std::string form_name(Form form) { return option_text(kFormNames, form); }

Form form_of_name(const std::string& name) {
    const std::optional<Form> form = find_option(kFormNames, name);
    require(form.has_value(), "template '{}' is not known; known are {}, and the chat templates {}", shown(name),
            option_list(kFormNames), fmt::join(named_template_names(), "|"));
    return *form;
}

std::vector<fs::path> data_files(const std::string& paths) {
    std::vector<fs::path> files;
    if (paths.find(',') == std::string::npos || is_there(paths)) return {paths};
    for (size_t begin = 0; begin <= paths.size();) {
        const size_t end = std::min(paths.find(',', begin), paths.size());
        if (end > begin) files.emplace_back(paths.substr(begin, end - begin));
        begin = end + 1;
    }
    return files;
}

RecordReader::RecordReader(std::vector<fs::path> files, const RecordOptions& options)
    : files_(std::move(files)), options_(options) {
    GGQ_ASSERT(options.limit != 0 && !files_.empty());
    if (!options.form.empty()) asked_ = form_of_name(options.form);
    if (!options.text_field.empty()) {
        require(!asked_ || *asked_ == Form::text, "text field '{}' is for plain text, but the template is {}",
                options.text_field, options.form);
        asked_ = Form::text;
    }
    open(0);
}

void RecordReader::open(size_t file) {
    file_ = file;
    n_in_file_ = 0;
    usual_.reset();
    items_ = open_record_items(files_[file], options_.format, options_.documents);
}

std::optional<Record> RecordReader::next() {
    if (options_.limit >= 0 && n_read_ >= options_.limit) return std::nullopt;
    for (;;) {
        if (const auto item = items_->next()) {
            Record record = record_of(*item);
            ++n_read_, ++n_in_file_;
            return record;
        }
        require(n_in_file_ > 0, "{}: expected training samples, got none", files_[file_].string());
        if (file_ + 1 == files_.size()) return std::nullopt;
        open(file_ + 1);
    }
}

Form RecordReader::form_for(const json& item) {
    require(item.is_object(), "{}: expected an object with {}, got {}", items_->place(), kForms, item.type_name());
    if (items_->is_text()) return Form::text;
    if (asked_) return *asked_;
    const std::optional<Form> own = form_of(item);
    if (!usual_) {
        require(own.has_value(), "{}: unknown form of data: expected {}, got {}", items_->place(), kForms,
                keys_of(item));
        usual_ = own;
    }
    return has_form(item, *usual_) ? *usual_ : own.value_or(*usual_);
}

Record RecordReader::record_of(const json& item) {
    Record record;
    record.form = form_for(item);
    record.place = items_->place();
    record.document = items_->is_text();
    if (record.document) {
        record.answer = item["text"];
    } else if (record.form == Form::chat) {
        record.chat = conversation(item);
    } else if (is_alpaca(record.form)) {
        require(!has_history(item), "{}: history is part of a conversation; use `template` chat", record.place);
        record.prompt = field(item, "instruction", record.form);
        record.input = field_or_nothing(item, "input", record.form);
        record.answer = field(item, "output", record.form);
    } else if (record.form == Form::completion) {
        record.prompt = field(item, "prompt", record.form);
        record.answer = field(item, "completion", record.form);
    } else {
        record.answer = field(item, text_field(), record.form);
    }
    return record;
}

// Of a record of any form that has a question and an answer.
Conversation RecordReader::conversation(const json& item) const {
    try {
        if (is_conversation(item)) return read_conversation(item);
    } catch (const Error& error) {
        fail("{}: {}", items_->place(), error.what());
    }
    const bool alpaca = item.contains("instruction");
    if (has_history(item)) check_history(item["history"]);
    std::string asked = field(item, alpaca ? "instruction" : "prompt", Form::chat);
    const std::string input = alpaca ? field_or_nothing(item, "input", Form::chat) : "";
    if (!input.empty()) asked += "\n\n" + input;
    const std::string answer = field(item, alpaca ? "output" : "completion", Form::chat);
    const std::string system = is_text(item, "system") ? item["system"].get<std::string>() : "";
    if (!has_history(item)) return single_turn(system, asked, &answer);
    json messages = json::array();
    if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
    for (const json& turn : item["history"]) {
        messages.push_back({{"role", "user"}, {"content", turn[0]}});
        messages.push_back({{"role", "assistant"}, {"content", turn[1]}});
    }
    messages.push_back({{"role", "user"}, {"content", asked}});
    messages.push_back({{"role", "assistant"}, {"content", answer}});
    return read_conversation({{"messages", std::move(messages)}});
}

void RecordReader::check_history(const json& history) const {
    for (const json& turn : history)
        require(turn.is_array() && turn.size() == 2 && turn[0].is_string() && turn[1].is_string(),
                "{}: history: expected pairs of a question and its answer", items_->place());
}

std::string RecordReader::field(const json& item, const std::string& key, Form form) const {
    const auto found = item.find(key);
    require(found != item.end(), "{}: expected a field {} (data of form {}), got {}", items_->place(), key,
            form_name(form), keys_of(item));
    require(found->is_string(), "{}: expected {} to be a text, got {}{}", items_->place(), key, found->type_name(),
            found->is_array() ? " (for lists of messages the template is chat)" : "");
    return *found;
}

std::string RecordReader::field_or_nothing(const json& item, const std::string& key, Form form) const {
    return item.value(key, json()).is_null() ? "" : field(item, key, form);
}

std::vector<Record> read_records(const fs::path& path, const RecordOptions& options) {
    RecordReader reader({path}, options);
    std::vector<Record> records;
    while (std::optional<Record> record = reader.next()) records.push_back(std::move(*record));
    return records;
}

}  // namespace ggq
