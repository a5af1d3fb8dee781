// The records of a data file as they lie in it, one after the other, whatever holds them. Nothing but the present one
// is in memory, so that a file may be larger than that.
//
//   JSON        an array of objects, or an object a line
//   CSV, TSV    a header names the fields, each row is an object of texts; a semicolon may separate as well
//   plain text  documents, each as {"text"}
//
// Which of them a file is says its name (.csv, .tsv, .txt, .text, .md; all else is JSON), or whoever asks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace ggq {

enum class DataFormat { automatic, json, csv, text };

// What a document of plain text is. Whatever is chosen, a line that is <|endoftext|> ends one.
enum class Documents { file, blank_lines, lines };

class RecordItems {
public:
    virtual ~RecordItems() = default;

    // Nothing at the end. Throws Error naming file and line.
    virtual std::unique_ptr<nlohmann::ordered_json> next() = 0;
    virtual std::string place() const = 0;  // of what next() gave, for messages: "a.jsonl: line 3"
    virtual int64_t number() const = 0;     // of its line, or in an array from 1
    virtual bool is_text() const { return false; }
};

// Refuses a file that is none of them by its first bytes (Parquet, Arrow, archives), with what would make it one.
std::unique_ptr<RecordItems> open_record_items(const std::filesystem::path& path,
                                               DataFormat format = DataFormat::automatic,
                                               Documents documents = Documents::file);

}  // namespace ggq
