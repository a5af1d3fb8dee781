// Training data as it lies in files (models/text/record_items.h): records of one of five forms, told by their keys.
//
//   {"messages"}, {"conversations"}, ...  conversations (models/text/conversation.h)
//   {"instruction", "input", "output"}    Alpaca; the input may be empty or absent. Two templates word it;
//                                         {"system"} and {"history": [[question, answer], ...]} are for chat templates
//   {"prompt", "completion"}              both plain texts
//   {"text"}                              or another field that is named; a document of a plain text file
//
// Files, and records of a file, may be of different forms unless one is asked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ggq/stop.h"
#include "models/text/conversation.h"
#include "models/text/record_items.h"

namespace ggq {

enum class Form { alpaca, alpaca_short, completion, text, chat };

// The name of the form's template.
std::string form_name(Form form);
Form form_of_name(const std::string& name);  // refuses another
inline bool is_alpaca(Form form) { return form == Form::alpaca || form == Form::alpaca_short; }

struct Record {
    Form form = Form::text;
    std::string prompt;  // empty for plain text
    std::string input;   // of Alpaca's form only
    std::string answer;
    std::string place;       // for messages: "a.jsonl: line 3"
    Conversation chat = {};  // of conversations; else empty
    bool document = false;   // of a plain text file
};

struct RecordOptions {
    std::string form;        // name of a template; empty: by the keys of the first record, Alpaca's as alpaca
    std::string text_field;  // the field of plain text; given, the form is text; empty: "text"
    int64_t limit = -1;      // only so many records from the start; -1: all
    DataFormat format = DataFormat::automatic;  // of all files
    Documents documents = Documents::file;      // of plain text files
};

// The files that a text names: itself if it is one, else those between its commas.
std::vector<std::filesystem::path> data_files(const std::string& paths);

// The records of files, one after the other; one is in memory at a time.
class RecordReader {
public:
    // Throws Error for a form that is not known, and what opening the first file does.
    RecordReader(std::vector<std::filesystem::path> files, const RecordOptions& options);

    // Nothing at the end, or at the limit. Throws Error, by file and line, for what is no record.
    std::optional<Record> next();
    int64_t n_read() const { return n_read_; }

private:
    Record record_of(const nlohmann::ordered_json& item);
    Form form_for(const nlohmann::ordered_json& item);
    Conversation conversation(const nlohmann::ordered_json& item) const;
    void check_history(const nlohmann::ordered_json& history) const;
    std::string text_field() const { return options_.text_field.empty() ? "text" : options_.text_field; }
    std::string field(const nlohmann::ordered_json& item, const std::string& key, Form form) const;
    std::string field_or_nothing(const nlohmann::ordered_json& item, const std::string& key, Form form) const;
    void open(size_t file);

    std::vector<std::filesystem::path> files_;
    RecordOptions options_;
    std::optional<Form> asked_, usual_;  // that was asked for; of the file's first record
    std::unique_ptr<RecordItems> items_;
    size_t file_ = 0;
    int64_t n_read_ = 0, n_in_file_ = 0;
};

// All at once.
std::vector<Record> read_records(const std::filesystem::path& path, const RecordOptions& options = {});

}  // namespace ggq
