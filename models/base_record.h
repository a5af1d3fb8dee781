// ggq_base.json: what an adapter's folder records of the base that it was trained against, and of its other files.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "ggq/io/file_record.h"
#include "models/base_form.h"

namespace ggq {

inline constexpr const char* kBaseRecordFile = "ggq_base.json";

struct BaseRecord {
    std::string path;
    std::string hash;  // Model::hash()
    BaseForm form;

    bool operator==(const BaseRecord&) const = default;
};

std::optional<BaseRecord> read_base_record(const std::filesystem::path& folder);  // nothing if there is no such file
// `files` are those of the adapter beside it.
void write_base_record(const std::filesystem::path& folder, const BaseRecord& base, const FileRecord& files);

// Throws Error for a file that is not what ggq_base.json records. False where nothing is recorded of the files, as in
// what PEFT or an older ggq wrote: they are not checked then.
bool check_recorded_files(const std::filesystem::path& folder, const StopAsked& stop = {});

}  // namespace ggq
