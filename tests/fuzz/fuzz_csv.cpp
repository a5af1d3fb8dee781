// A CSV file, and the same bytes as plain text: rows that are written again are read again, records become samples.
#include "models/text/csv.h"
#include "models/text/dataset.h"
#include "tests/fuzz/fuzz.h"
#include "tests/small_tokenizers.h"

using namespace ggq;

namespace {

using Rows = std::vector<std::vector<std::string>>;

Rows read_rows(const std::filesystem::path& file, char separator) {
    TextStream text(file);
    CsvReader reader(text, separator);
    Rows rows;
    for (std::vector<std::string> row; reader.next(row);) rows.push_back(row);
    return rows;
}

std::string written(const Rows& rows) {
    std::string text;
    for (const auto& row : rows) {
        for (size_t i = 0; i < row.size(); ++i) {
            text += i > 0 ? ",\"" : "\"";
            for (const char c : row[i]) text.append(c == '"' ? 2 : 1, c);
            text += '"';
        }
        text += "\r\n";
    }
    return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    static const Tokenizer tokenizer = test::byte_tokenizer();
    for (const char* name : {"data.csv", "data.txt"}) folder.write(name, fuzz::text_of(data, size));
    fuzz::refuse_or_read([&] {
        const Rows rows = read_rows(folder.path() / "data.csv", ',');
        folder.write("again.csv", written(rows));
        if (read_rows(folder.path() / "again.csv", ',') != rows) std::abort();
    });
    for (const char* name : {"data.csv", "data.txt"}) {
        fuzz::refuse_or_read([&] {
            DataOptions options;
            options.records.documents = Documents::blank_lines;
            options.split_documents = true;
            options.most_held_tokens = 100;
            const Dataset set = load_dataset(folder.path() / name, tokenizer, 302, options);
            for (const Sample& sample : set.train)
                if (sample.n_tokens() > options.max_length || sample.n_label_tokens() == 0) std::abort();
        });
    }
    return 0;
}
