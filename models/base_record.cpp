#include "models/base_record.h"

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "ggq/io/input_file.h"
#include "ggq/io/json_fields.h"
#include "ggq/io/json_reader.h"
#include "ggq/io/text_file.h"

namespace ggq {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

constexpr const char* kFilesKey = "files";
constexpr int64_t kVersion = 1;

}  // namespace

std::optional<BaseRecord> read_base_record(const fs::path& folder) {
    const fs::path path = folder / kBaseRecordFile;
    if (!is_there(path)) return std::nullopt;
    const nlohmann::json content = parse_json(read_side_file(path), path.string());
    const JsonFields fields(content, path.string());
    require(fields.count("version") == kVersion, "{}: version {} is newer than this program; known is {}",
            path.string(), fields.count("version"), kVersion);
    return BaseRecord{fields.text_or("base_path", ""), fields.text_or("base_hash", ""), read_form(fields)};
}

void write_base_record(const fs::path& folder, const BaseRecord& base, const FileRecord& files) {
    ordered_json content = {{"version", kVersion}, {"base_path", base.path}, {"base_hash", base.hash}};
    write_form(base.form, content);
    content[kFilesKey] = to_json(files);
    write_file(folder / kBaseRecordFile, content.dump(2, ' ', true, ordered_json::error_handler_t::replace) + "\n");
}

bool check_recorded_files(const fs::path& folder, const StopAsked& stop) {
    const fs::path path = folder / kBaseRecordFile;
    if (!is_there(path)) return false;
    const ordered_json content = parse_ordered_json(read_side_file(path), path.string());
    const auto files = content.find(kFilesKey);
    const FileRecord record = files == content.end() ? FileRecord{} : file_record(*files, path);
    check_files(folder, record, kBaseRecordFile, stop);
    return !record.empty();
}

}  // namespace ggq
