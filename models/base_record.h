// ggq_base.json: what an adapter's folder records of the base that it was trained against.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "models/base_form.h"

namespace ggq {

struct BaseRecord {
    std::string path;
    std::string hash;  // Model::hash()
    BaseForm form;

    bool operator==(const BaseRecord&) const = default;
};

std::optional<BaseRecord> read_base_record(const std::filesystem::path& folder);  // nothing if there is no such file
void write_base_record(const std::filesystem::path& folder, const BaseRecord& base);

}  // namespace ggq
