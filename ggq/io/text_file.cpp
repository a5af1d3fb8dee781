#include "ggq/io/text_file.h"

#include <algorithm>

#include "ggq/error.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

constexpr uint64_t kMostSideText = uint64_t{1} << 30;

std::string text_of(const InputFile& file) {
    const std::string name = file.path().string();
    std::string text = file.read_all();
    refuse_lfs_pointer(text, name);
    if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
    const auto bad = invalid_utf8(text);
    if (bad) {
        fail("{}: line {} is not valid UTF-8 (byte 0x{:02x}); save the file as UTF-8", name, line_of(text, *bad),
             static_cast<unsigned char>(text[*bad]));
    }
    return text;
}

}  // namespace

std::string read_text_file(const std::filesystem::path& path, InputFile::Takes takes) {
    require(is_there(path), "{}: no such file", path.string());
    return text_of(InputFile(path, takes));
}

std::string read_side_file(const std::filesystem::path& path) {
    require(is_there(path), "{}: no such file", path.string());
    refuse_link_out(path);
    const InputFile file(path);
    require(file.n_bytes() <= kMostSideText, "{}: expected at most {} bytes of text, got {}", path.string(),
            kMostSideText, file.n_bytes());
    return text_of(file);
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
