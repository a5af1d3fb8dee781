// Training data as it lies in a file: a JSON array or JSON lines of one of four forms, told by their keys.
//
//   {"messages"}, {"conversations"}, ...  conversations (models/text/conversation.h)
//   {"instruction", "input", "output"}    Alpaca; the input may be empty or absent. Two templates word it
//   {"prompt", "completion"}              both plain texts
//   {"text"}                              or another field that is named
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ggq/stop.h"
#include "models/text/conversation.h"

namespace ggq {

enum class Form { alpaca, alpaca_short, completion, text, chat };

// The name of the form's template.
std::string form_name(Form form);
Form form_of_name(const std::string& name);  // refuses another
inline bool is_alpaca(Form form) { return form == Form::alpaca || form == Form::alpaca_short; }

struct Record {
    std::string prompt;  // empty for plain text
    std::string input;   // of Alpaca's form only
    std::string answer;
    int64_t number;          // of its line, or in the array from 1
    Conversation chat = {};  // of conversations; else empty
};

struct Records {
    Form form = Form::text;
    std::vector<Record> records;
    std::string file;
    std::string unit;  // what a record's number counts: "line" or "sample"

    std::string place(int64_t number) const { return file + ": " + unit + " " + std::to_string(number); }
};

struct RecordOptions {
    std::string form;        // name of a template; empty: by the keys of the first record, Alpaca's as alpaca
    std::string text_field;  // the field of plain text; given, the form is text; empty: "text"
    int64_t limit = -1;      // only so many records from the start; -1: all
};

Records read_records(const std::filesystem::path& path, const RecordOptions& options = {}, const StopAsked& stop = {});

}  // namespace ggq
