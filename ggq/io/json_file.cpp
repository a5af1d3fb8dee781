#include "ggq/io/json_file.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "ggq/error.h"
#include "ggq/io/utf8.h"

namespace ggq {

std::string read_text_file(const std::filesystem::path& path) {
    require(std::filesystem::exists(path), "{}: no such file", path.string());
    require(!std::filesystem::is_directory(path), "{}: expected a file, got a folder", path.string());
    std::ifstream file(path, std::ios::binary);
    require(file.good(), "{}: cannot be opened for reading", path.string());
    std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    require(!file.bad(), "{}: reading failed", path.string());

    refuse_lfs_pointer(text, path.string());
    if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
    const auto bad = invalid_utf8(text);
    if (bad) {
        fail("{}: line {} is not valid UTF-8 (byte 0x{:02x}); save the file as UTF-8", path.string(),
             line_of(text, *bad), static_cast<unsigned char>(text[*bad]));
    }
    return text;
}

void refuse_lfs_pointer(std::string_view file, const std::string& name) {
    require(!file.starts_with("version https://git-lfs"),
            "{} is a Git LFS pointer, not the file itself; fetch it with: git lfs pull", name);
}

int64_t line_of(std::string_view text, size_t offset) {
    return 1 +
           std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(offset, text.size())), '\n');
}

}  // namespace ggq
