#include "ggq/io/file_record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ggq/error.h"
#include "ggq/io/hash.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

int64_t size_of(const fs::path& path) {
    std::error_code error;
    const uintmax_t n_bytes = fs::file_size(path, error);
    if (error) fail("cannot read {}: {}", path.string(), error.message());
    return static_cast<int64_t>(n_bytes);
}

}  // namespace

FileRecord record_files(const fs::path& folder, const std::vector<std::string>& names) {
    FileRecord record;
    for (const std::string& name : names) record[name] = {size_of(folder / name), hash_files({folder / name})};
    return record;
}

FileRecord record_files(const fs::path& folder) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
        names.push_back(at->path().filename().string());
    if (error) fail("cannot read the folder {}: {}", folder.string(), error.message());
    return record_files(folder, names);
}

ordered_json to_json(const FileRecord& record) {
    ordered_json json = ordered_json::object();
    for (const auto& [name, file] : record) json[name] = {{"bytes", file.n_bytes}, {"xxh64", file.hash}};
    return json;
}

FileRecord file_record(const ordered_json& json, const fs::path& where) {
    FileRecord record;
    require(json.is_object(), "{}: files must be a JSON object", where.string());
    for (const auto& [name, entry] : json.items()) {
        const bool whole = entry.is_object() && entry.contains("bytes") && entry.contains("xxh64");
        // Only names within the folder: a record that names others was not written by this program.
        const bool plain = !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos;
        require(whole && plain && entry["bytes"].is_number_integer() && entry["bytes"].get<int64_t>() >= 0 &&
                    entry["xxh64"].is_string(),
                "{}: files: '{}' must have a plain name, its bytes and its xxh64", where.string(), shown(name));
        record[name] = {entry["bytes"].get<int64_t>(), entry["xxh64"].get<std::string>()};
    }
    return record;
}

std::optional<std::string> incomplete_file(const fs::path& folder, const FileRecord& record) {
    for (const auto& [name, file] : record) {
        std::error_code error;
        const uintmax_t n_bytes = fs::is_regular_file(folder / name, error) ? fs::file_size(folder / name, error) : 0;
        if (error || !fs::exists(folder / name, error)) return shown(name) + " is missing";
        if (n_bytes != static_cast<uintmax_t>(file.n_bytes))
            return fmt::format("{} has {} bytes of {}", shown(name), n_bytes, file.n_bytes);
    }
    return std::nullopt;
}

void check_files(const fs::path& folder, const FileRecord& record, const std::string& record_name,
                 const StopAsked& stop) {
    for (const auto& [name, file] : record) {
        const fs::path path = folder / name;
        std::error_code error;
        require(fs::is_regular_file(path, error), "{} is missing, which {} records", path.string(), record_name);
        const auto differs = [&](const std::string& how) {
            fail(
                "{} is not what {} records ({}): it is damaged, was changed or belongs to another run; if the change "
                "was meant, take \"files\" out of {}",
                path.string(), record_name, how, record_name);
        };
        const int64_t n_bytes = size_of(path);
        if (n_bytes != file.n_bytes) differs(fmt::format("{} bytes, recorded are {}", n_bytes, file.n_bytes));
        const std::string hash = hash_files({path}, stop);
        if (hash != file.hash) differs(fmt::format("hash {}, recorded is {}", hash, shown(file.hash)));
    }
}

}  // namespace ggq
