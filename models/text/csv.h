// Rows of a CSV file (RFC 4180): fields between separators, a field in quotes may hold separators, line ends and, twice
// written, quotes. Line ends are CR LF or LF. A quote within a field that does not begin with one is itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ggq/io/text_stream.h"

namespace ggq {

class CsvReader {
public:
    // `text` must outlive it.
    CsvReader(TextStream& text, char separator) : text_(text), separator_(separator) {}

    // False at the end. Empty lines are passed over. Throws Error naming file and line: a quote that is not closed, and
    // what stands behind a closing one.
    bool next(std::vector<std::string>& fields);
    int64_t line() const { return line_; }  // where the row began

private:
    std::string plain_field();
    std::string quoted_field();
    bool at_line_end();

    TextStream& text_;
    char separator_;
    int64_t line_ = 1;
};

// The separator of a file by its first line: a comma, or what a spreadsheet writes instead of it, a semicolon or a tab.
char csv_separator(TextStream& text);

}  // namespace ggq
