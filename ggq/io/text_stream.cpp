#include "ggq/io/text_stream.h"

#include <algorithm>

#include "ggq/error.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

constexpr size_t kPiece = size_t{1} << 18;
constexpr size_t kFirst = 64;  // bytes that a byte order mark and a pointer of Git LFS are told by

InputFile opened(const std::filesystem::path& path) {
    require(is_there(path), "{}: no such file", path.string());
    return InputFile(path, InputFile::Takes::pipes_too);
}

}  // namespace

TextStream::TextStream(const std::filesystem::path& path) : name_(path.string()), file_(opened(path)) {
    refuse_lfs_pointer(ahead(kFirst), name_);
    if (buffer_.starts_with("\xEF\xBB\xBF")) at_ = 3;
}

bool TextStream::fill() {
    buffer_.erase(0, at_);
    at_ = 0;
    const size_t left = buffer_.size();
    buffer_.resize(left + kPiece);
    const size_t n = file_.read_next({reinterpret_cast<std::byte*>(buffer_.data() + left), kPiece});
    buffer_.resize(left + n);
    return n > 0;
}

int TextStream::next() {
    const int byte = peek();
    if (byte == kEnd) return byte;
    ++at_;
    line_ += byte == '\n' ? 1 : 0;
    return byte;
}

std::string_view TextStream::ahead(size_t least) {
    while (buffer_.size() - at_ < least && fill()) continue;
    return std::string_view(buffer_).substr(at_);
}

bool TextStream::read_line(std::string& line) {
    line.clear();
    line_ended_ = false;
    if (peek() == kEnd) return false;
    const int64_t first_line = line_;
    while (peek() != kEnd) {
        const size_t end = std::min(buffer_.find('\n', at_), buffer_.size());
        line.append(buffer_, at_, end - at_);
        require_size(line.size(), first_line);
        at_ = end;
        if (end == buffer_.size()) continue;
        next();
        return line_ended_ = true;
    }
    return true;
}

int TextStream::skip_white_space() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\r' || peek() == '\n') next();
    return peek();
}

void TextStream::require_utf8(std::string_view piece, int64_t first_line) const {
    const auto bad = invalid_utf8(piece);
    if (!bad) return;
    fail("{}: line {} is not valid UTF-8 (byte 0x{:02x}); save the file as UTF-8", name_,
         first_line + line_of(piece, *bad) - 1, static_cast<unsigned char>(piece[*bad]));
}

void TextStream::require_size(size_t n_bytes, int64_t first_line) const {
    require(n_bytes <= kMostBytes, "{}: what begins on line {} is longer than {} bytes; cut it into several samples",
            name_, first_line, kMostBytes);
}

}  // namespace ggq
