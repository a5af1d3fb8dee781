#include "models/text/csv.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "ggq/error.h"

namespace ggq {

namespace {

constexpr size_t kMostFields = 10'000;
constexpr size_t kHeaderBytes = size_t{1} << 16;

}  // namespace

// A lone CR belongs to its field.
bool CsvReader::at_line_end() {
    const int c = text_.peek();
    if (c != '\r') return c == '\n' || c == TextStream::kEnd;
    const std::string_view next = text_.ahead(2);
    return next.size() < 2 || next[1] == '\n';
}

std::string CsvReader::plain_field() {
    std::string field;
    while (text_.peek() != separator_ && !at_line_end()) {
        field += static_cast<char>(text_.next());
        text_.require_size(field.size(), line_);
    }
    return field;
}

std::string CsvReader::quoted_field() {
    const int64_t first_line = text_.line();
    std::string field;
    text_.next();
    for (;;) {
        const int c = text_.next();
        require(c != TextStream::kEnd, "{}: line {}: a quote is opened and not closed", text_.name(), first_line);
        if (c == '"' && text_.peek() != '"') break;
        if (c == '"') text_.next();
        field += static_cast<char>(c);
        text_.require_size(field.size(), first_line);
    }
    require(text_.peek() == separator_ || at_line_end(),
            "{}: line {}: expected '{}' or the end of the line behind a closing quote; a quote within a field is "
            "written twice",
            text_.name(), text_.line(), separator_);
    return field;
}

bool CsvReader::next(std::vector<std::string>& fields) {
    while (text_.peek() != TextStream::kEnd && at_line_end()) text_.next();
    fields.clear();
    if (text_.peek() == TextStream::kEnd) return false;
    line_ = text_.line();
    for (;;) {
        fields.push_back(text_.peek() == '"' ? quoted_field() : plain_field());
        text_.require_utf8(fields.back(), line_);
        require(fields.size() <= kMostFields, "{}: line {}: expected at most {} fields", text_.name(), line_,
                kMostFields);
        if (text_.peek() != separator_) break;
        text_.next();
    }
    while (text_.peek() == '\r') text_.next();
    if (text_.peek() == '\n') text_.next();
    return true;
}

char csv_separator(TextStream& text) {
    constexpr std::array kSeparators = {',', ';', '\t'};
    std::array<int64_t, kSeparators.size()> n{};
    bool quoted = false;
    for (const char c : text.ahead(kHeaderBytes)) {
        if (c == '"') quoted = !quoted;
        if (c == '\n' && !quoted) break;
        const auto found = std::ranges::find(kSeparators, c);
        if (!quoted && found != kSeparators.end()) ++n[static_cast<size_t>(found - kSeparators.begin())];
    }
    return kSeparators[static_cast<size_t>(std::ranges::max_element(n) - n.begin())];
}

}  // namespace ggq
