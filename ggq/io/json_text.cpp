#include "ggq/io/json_text.h"

#include <nlohmann/json.hpp>
#include <string_view>

#include "ggq/error.h"

namespace ggq {

namespace {

std::string_view as_text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

nlohmann::json parse_json_text(std::span<const std::byte> text, const std::string& where) {
    try {
        return nlohmann::json::parse(as_text(text));
    } catch (const nlohmann::json::exception& error) {
        // Of "[json.exception.parse_error.101] parse error at line 3, column 7: ..." the part from "at" on is of use.
        const std::string reason = error.what();
        const size_t at = reason.find(" at line ");
        fail("{}: broken JSON{}", where, at == std::string::npos ? ": " + reason : reason.substr(at));
    }
}

void refuse_lfs_pointer(std::span<const std::byte> file, const std::string& where) {
    require(!as_text(file).starts_with("version https://git-lfs"),
            "{} is a Git LFS pointer, not the file itself; fetch it with: git lfs pull", where);
}

}  // namespace ggq
