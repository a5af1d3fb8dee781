// A text file read once from its beginning to its end, a piece at a time, so that it may be larger than memory. A byte
// order mark is passed over; pipes are read too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "ggq/io/input_file.h"

namespace ggq {

class TextStream {
public:
    static constexpr int kEnd = -1;
    // What is read as a whole (a line, a value, a row) is refused beyond this size.
    static constexpr size_t kMostBytes = size_t{1} << 30;

    // Refuses what is missing, unreadable, no file, or a Git LFS pointer.
    explicit TextStream(const std::filesystem::path& path);

    const std::string& name() const { return name_; }
    int64_t line() const { return line_; }  // of the byte that comes next, from 1

    // The next byte, 0 to 255, or kEnd; next() takes it.
    int peek() { return at_ < buffer_.size() || fill() ? static_cast<unsigned char>(buffer_[at_]) : kEnd; }
    int next();

    // A part of what comes next, of so many bytes at least unless the end is near.
    std::string_view ahead(size_t least = 1);

    // The rest of the line without its "\n"; false where nothing is left.
    bool read_line(std::string& line);
    bool line_ended() const { return line_ended_; }  // whether the last one had a "\n"

    int skip_white_space();  // returns what peek() does then

    // Refuses a piece of the text, which began on that line, if it is not UTF-8.
    void require_utf8(std::string_view piece, int64_t first_line) const;
    void require_size(size_t n_bytes, int64_t first_line) const;  // of a piece; refuses what is beyond kMostBytes

private:
    bool fill();  // puts a piece behind what is left; false at the end

    std::string name_;
    InputFile file_;
    std::string buffer_;
    size_t at_ = 0;
    int64_t line_ = 1;
    bool line_ended_ = false;
};

}  // namespace ggq
