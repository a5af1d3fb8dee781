#include "models/text/record_items.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <vector>

#include "ggq/error.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_stream.h"
#include "ggq/io/utf8.h"
#include "models/text/csv.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;  // templates write messages and tools in the order in which they came

constexpr std::string_view kEndOfText = "<|endoftext|>";

class Items : public RecordItems {
public:
    Items(std::shared_ptr<TextStream> text, const char* unit) : text_(std::move(text)), unit_(unit) {}

    std::string place() const override { return fmt::format("{}: {} {}", text_->name(), unit_, number_); }
    int64_t number() const override { return number_; }

protected:
    std::unique_ptr<json> parse(std::string_view piece, int64_t first_line) const {
        text_->require_utf8(piece, first_line);
        return std::make_unique<json>(parse_ordered_json(piece, text_->name(), first_line));
    }

    std::shared_ptr<TextStream> text_;
    const char* unit_;
    int64_t number_ = 0;
};

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r\n") == std::string_view::npos; }

class JsonLines : public Items {
public:
    explicit JsonLines(std::shared_ptr<TextStream> text) : Items(std::move(text), "line") {}

    std::unique_ptr<json> next() override {
        for (;;) {
            number_ = text_->line();
            if (!text_->read_line(line_)) return nullptr;
            if (!is_blank(line_)) return parse(line_, number_);
        }
    }

private:
    std::string line_;
};

class JsonArray : public Items {
public:
    explicit JsonArray(std::shared_ptr<TextStream> text) : Items(std::move(text), "sample") { text_->next(); }

    std::unique_ptr<json> next() override {
        if (ended_) return nullptr;
        const int c = text_->skip_white_space();
        if (c == ']' && number_ == 0) return end();
        require(c != ']' && c != TextStream::kEnd, "{}: broken JSON on line {}: {}", text_->name(), text_->line(),
                c == ']' ? "a comma before the end of the list" : "the list does not end");
        const int64_t first_line = text_->line();
        auto value = parse(read_value(first_line), first_line);
        ++number_;
        if (text_->peek() == ',') text_->next();
        else end();
        return value;
    }

private:
    // Up to the comma or bracket that follows, which is left.
    std::string read_value(int64_t first_line) {
        std::string value;
        size_t depth = 0;
        for (bool in_string = false;;) {
            const int c = text_->peek();
            if (c == TextStream::kEnd || (!in_string && depth == 0 && (c == ',' || c == ']'))) return value;
            value += static_cast<char>(text_->next());
            text_->require_size(value.size(), first_line);
            if (in_string && c == '\\' && text_->peek() != TextStream::kEnd) value += static_cast<char>(text_->next());
            else if (c == '"') in_string = !in_string;
            else if (in_string) continue;
            else if (c == '{' || c == '[') ++depth;
            else if (c == '}' || c == ']') depth -= depth > 0 ? 1 : 0;
        }
    }

    std::unique_ptr<json> end() {
        ended_ = true;
        require(text_->peek() == ']', "{}: broken JSON on line {}: the list does not end", text_->name(),
                text_->line());
        text_->next();
        const int c = text_->skip_white_space();
        require(c == TextStream::kEnd, "{}: broken JSON on line {}: expected nothing behind the list", text_->name(),
                text_->line());
        return nullptr;
    }

    bool ended_ = false;
};

class CsvRows : public Items {
public:
    CsvRows(std::shared_ptr<TextStream> text, char separator)
        : Items(std::move(text), "line"), rows_(*text_, separator) {
        require(rows_.next(names_), "{}: the file is empty, expected a header and rows", text_->name());
        const std::set<std::string_view> different(names_.begin(), names_.end());
        require(different.size() == names_.size(), "{}: line {}: the header names a field twice", text_->name(),
                rows_.line());
    }

    std::unique_ptr<json> next() override {
        std::vector<std::string> fields;
        if (!rows_.next(fields)) return nullptr;
        number_ = rows_.line();
        require(fields.size() == names_.size(), "{}: expected {} fields as in the header, got {}", place(),
                names_.size(), fields.size());
        auto item = std::make_unique<json>(json::object());
        for (size_t i = 0; i < names_.size(); ++i) (*item)[names_[i]] = value_of(names_[i], std::move(fields[i]));
        return item;
    }

private:
    // Lists of messages lie in a field as a text of JSON.
    json value_of(const std::string& name, std::string&& field) const {
        const bool list = name == "messages" || name == "conversations";
        if (!list || !field.starts_with('[')) return std::move(field);
        return parse_ordered_json(field, text_->name(), number_);
    }

    CsvReader rows_;
    std::vector<std::string> names_;
};

class TextDocuments : public Items {
public:
    TextDocuments(std::shared_ptr<TextStream> text, Documents documents)
        : Items(std::move(text), "line"), documents_(documents) {}

    bool is_text() const override { return true; }

    std::unique_ptr<json> next() override {
        std::string document, line;
        number_ = text_->line();
        while (text_->read_line(line)) {
            const std::string_view bare = std::string_view(line).substr(0, line.find_last_not_of(" \t\r") + 1);
            const bool ends = bare == kEndOfText || documents_ == Documents::lines ||
                              (documents_ == Documents::blank_lines && bare.empty());
            if (!ends || (documents_ == Documents::lines && bare != kEndOfText))
                document += line + (text_->line_ended() ? "\n" : "");
            text_->require_size(document.size(), number_);
            if (!ends) continue;
            if (!is_blank(document)) return taken(std::move(document), true);
            document.clear();
            number_ = text_->line();
        }
        return is_blank(document) ? nullptr : taken(std::move(document), documents_ != Documents::file);
    }

private:
    // The line end in front of what ends a document is not part of it.
    std::unique_ptr<json> taken(std::string document, bool without_end) const {
        if (without_end) document.erase(document.find_last_not_of("\r\n") + 1);
        text_->require_utf8(document, number_);
        return std::make_unique<json>(json{{"text", std::move(document)}});
    }

    Documents documents_;
};

// First bytes of files that hold data and are no text.
struct Magic {
    std::string_view bytes;
    const char* what;
    const char* pandas;  // what reads it there; null: none
};
constexpr Magic kMagics[] = {{"PAR1", "a Parquet file", "read_parquet"},
                             {"ARROW1", "an Arrow file", "read_feather"},
                             {"PK\x03\x04", "an archive or a spreadsheet (zip)", nullptr},
                             {"\x1F\x8B", "compressed (gzip)", nullptr},
                             {"\x28\xB5\x2F\xFD", "compressed (zstd)", nullptr}};

void refuse_binary(const fs::path& path, std::string_view begin) {
    for (const Magic& magic : kMagics) {
        if (!begin.starts_with(magic.bytes) && !(magic.what == kMagics[0].what && path.extension() == ".parquet"))
            continue;
        require(magic.pandas != nullptr, "{} is {}, which is not read here; unpack it to JSON lines, CSV or text",
                path.string(), magic.what);
        fail(
            "{0} is {1}, which is not read here; convert it with: python3 -c \"import pandas; "
            "pandas.{2}('{0}').to_json('{3}', orient='records', lines=True)\"",
            path.string(), magic.what, magic.pandas, fs::path(path).replace_extension(".jsonl").string());
    }
}

DataFormat format_of(const fs::path& path) {
    std::string ending = path.extension().string();
    std::ranges::transform(ending, ending.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
    if (ending == ".csv" || ending == ".tsv") return DataFormat::csv;
    const bool text = ending == ".txt" || ending == ".text" || ending == ".md";
    return text ? DataFormat::text : DataFormat::json;
}

std::unique_ptr<RecordItems> json_items(std::shared_ptr<TextStream> text) {
    const int first = text->skip_white_space();
    require(first != TextStream::kEnd, "{}: the file is empty, expected training samples", text->name());
    if (first == '[') return std::make_unique<JsonArray>(std::move(text));
    return std::make_unique<JsonLines>(std::move(text));
}

}  // namespace

std::unique_ptr<RecordItems> open_record_items(const fs::path& path, DataFormat format, Documents documents) {
    auto text = std::make_shared<TextStream>(path);
    refuse_binary(path, text->ahead());
    if (format == DataFormat::automatic) format = format_of(path);
    if (format == DataFormat::json) return json_items(std::move(text));
    if (format == DataFormat::text) return std::make_unique<TextDocuments>(std::move(text), documents);
    const char separator = path.extension() == ".tsv" ? '\t' : csv_separator(*text);
    return std::make_unique<CsvRows>(std::move(text), separator);
}

}  // namespace ggq
