#include "models/text/records.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"
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

void refuse_parquet(const fs::path& path) {
    char magic[4] = {};
    std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
    if (std::string_view(magic, sizeof magic) != "PAR1" && path.extension() != ".parquet") return;
    const std::string lines = fs::path(path).replace_extension(".jsonl").string();
    fail(
        "{0} is a Parquet file, which is not read here; convert it with: python3 -c \"import pandas; "
        "pandas.read_parquet('{0}').to_json('{1}', orient='records', lines=True)\"",
        path.string(), lines);
}

std::string keys_of(const json& object) {
    std::string keys;
    for (const auto& [key, value] : object.items()) keys += (keys.empty() ? "" : ", ") + key;
    return keys.empty() ? "no keys" : "keys " + shown(keys);
}

class Reader {
public:
    Reader(const fs::path& path, const RecordOptions& options, const StopAsked& stop) : options_(options), stop_(stop) {
        result_.file = path.string();
        if (!options.form.empty()) form_ = form_of_name(options.form);
        if (options.text_field.empty()) return;
        require(!form_ || *form_ == Form::text, "text field '{}' is for plain text, but the template is {}",
                options.text_field, options.form);
        form_ = Form::text;
    }

    Records read(const std::string& text) {
        const size_t start = text.find_first_not_of(" \t\r\n");
        require(start != std::string::npos, "{}: the file is empty, expected training samples", result_.file);
        const bool array = text[start] == '[';
        result_.unit = array ? "sample" : "line";
        array ? read_array(text) : read_lines(text);
        require(!result_.records.empty(), "{}: expected training samples, got none", result_.file);
        result_.form = *form_;
        return std::move(result_);
    }

private:
    bool full() const { return options_.limit >= 0 && static_cast<int64_t>(result_.records.size()) >= options_.limit; }

    void read_array(const std::string& text) {
        int64_t number = 0;
        for (const json& item : parse_ordered_json(text, result_.file)) {
            if (full()) return;
            add(item, ++number);
        }
    }

    void read_lines(std::string_view text) {
        int64_t number = 0;
        while (!text.empty() && !full()) {
            const size_t end = std::min(text.find('\n'), text.size());
            const std::string_view line = text.substr(0, end);
            text.remove_prefix(std::min(end + 1, text.size()));
            ++number;
            if (line.find_first_not_of(" \t\r") != std::string_view::npos)
                add(parse_ordered_json(line, result_.file, number), number);
        }
    }

    void add(const json& item, int64_t number) {
        end_if_asked(stop_);
        require(item.is_object(), "{}: expected an object with {}, got {}", result_.place(number), kForms,
                item.type_name());
        if (!form_) form_ = form_of(item, number);
        Record record{{}, {}, {}, number};
        if (*form_ == Form::chat) {
            record.chat = conversation(item, number);
        } else if (is_alpaca(*form_)) {
            record.prompt = field(item, "instruction", number);
            record.input = item.value("input", json()).is_null() ? "" : field(item, "input", number);
            record.answer = field(item, "output", number);
        } else if (*form_ == Form::completion) {
            record.prompt = field(item, "prompt", number);
            record.answer = field(item, "completion", number);
        } else {
            record.answer = field(item, text_field(), number);
        }
        result_.records.push_back(std::move(record));
    }

    // Of a record of any form that has a question and an answer.
    Conversation conversation(const json& item, int64_t number) const {
        try {
            if (is_conversation(item)) return read_conversation(item);
        } catch (const Error& error) {
            fail("{}: {}", result_.place(number), error.what());
        }
        const bool alpaca = item.contains("instruction");
        std::string asked = field(item, alpaca ? "instruction" : "prompt", number);
        if (alpaca && !item.value("input", json()).is_null() && !field(item, "input", number).empty())
            asked += "\n\n" + field(item, "input", number);
        const std::string answer = field(item, alpaca ? "output" : "completion", number);
        const bool has_system = item.contains("system") && item["system"].is_string();
        return single_turn(has_system ? item["system"].get<std::string>() : "", asked, &answer);
    }

    Form form_of(const json& item, int64_t number) const {
        if (is_conversation(item)) return Form::chat;
        if (item.contains("instruction") && item.contains("output")) return Form::alpaca;
        if (item.contains("prompt") && item.contains("completion")) return Form::completion;
        if (item.contains("text")) return Form::text;
        fail("{}: unknown form of data: expected {}, got {}", result_.place(number), kForms, keys_of(item));
    }

    std::string text_field() const { return options_.text_field.empty() ? "text" : options_.text_field; }

    std::string field(const json& item, const std::string& key, int64_t number) const {
        const auto found = item.find(key);
        require(found != item.end(), "{}: expected a field {} (data of form {}), got {}", result_.place(number), key,
                form_name(*form_), keys_of(item));
        require(found->is_string(), "{}: expected {} to be a text, got {}{}", result_.place(number), key,
                found->type_name(), found->is_array() ? " (for lists of messages the template is chat)" : "");
        return *found;
    }

    RecordOptions options_;
    const StopAsked& stop_;
    std::optional<Form> form_;
    Records result_;
};

}  // namespace

std::string form_name(Form form) { return option_text(kFormNames, form); }

Form form_of_name(const std::string& name) {
    const std::optional<Form> form = find_option(kFormNames, name);
    require(form.has_value(), "template '{}' is not known; known are {}, and the chat templates {}", shown(name),
            option_list(kFormNames), fmt::join(named_template_names(), "|"));
    return *form;
}

Records read_records(const fs::path& path, const RecordOptions& options, const StopAsked& stop) {
    GGQ_ASSERT(options.limit != 0);
    std::error_code unknown;  // reading it will tell
    if (fs::is_regular_file(path, unknown)) refuse_parquet(path);
    return Reader(path, options, stop).read(read_text_file(path, InputFile::Takes::pipes_too));
}

}  // namespace ggq
