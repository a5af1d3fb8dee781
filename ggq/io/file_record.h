// A record of files that belong together: size and hash of each, kept as JSON in one of the other files beside them, so
// that a file that was damaged, or that belongs to another run, is noticed before it is used.
//
//   "files": {"adapter_model.safetensors": {"bytes": 123456, "xxh64": "44bc2cf5ad770999"}, ...}
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ggq/stop.h"

namespace ggq {

struct RecordedFile {
    int64_t n_bytes = 0;
    std::string hash;

    bool operator==(const RecordedFile&) const = default;
};

using FileRecord = std::map<std::string, RecordedFile>;  // by name in the folder

FileRecord record_files(const std::filesystem::path& folder, const std::vector<std::string>& names);
FileRecord record_files(const std::filesystem::path& folder);  // all of them

nlohmann::ordered_json to_json(const FileRecord& record);
// `where` is the file that holds the record. Throws Error for what is no such record.
FileRecord file_record(const nlohmann::ordered_json& json, const std::filesystem::path& where);

// The first file that is missing or of another size, with what is wrong; nothing is read.
std::optional<std::string> incomplete_file(const std::filesystem::path& folder, const FileRecord& record);

// Reads every file. Throws Error naming the first that is not what `record_name`, a file beside it, records.
void check_files(const std::filesystem::path& folder, const FileRecord& record, const std::string& record_name,
                 const StopAsked& stop = {});

}  // namespace ggq
