#include "examples/support/stdout_buffer.h"

#include <unistd.h>

#include <cerrno>
#include <iostream>
#include <system_error>

#include "ggq/error.h"

namespace ggq {

namespace {

constexpr size_t kMostWaiting = size_t{1} << 16;

std::string reason_of(int error) {
    if (error == EPIPE) return "whoever read it is gone";
    if (error == EBADF) return "it is closed";
    if (error == ENOSPC) return "the disk is full; free some space or write elsewhere";
    return std::generic_category().message(error);
}

}  // namespace

StdoutBuffer::StdoutBuffer() : before_(std::cout.rdbuf(this)), most_(isatty(STDOUT_FILENO) == 1 ? 0 : kMostWaiting) {}

StdoutBuffer::~StdoutBuffer() {
    write_out();
    std::cout.rdbuf(before_);
}

void StdoutBuffer::require_written() {
    if (!write_out()) fail("cannot write to stdout: {}", reason_of(error_));
}

std::streamsize StdoutBuffer::xsputn(const char* text, std::streamsize n_bytes) {
    waiting_.append(text, static_cast<size_t>(n_bytes));
    return waiting_.size() <= most_ || write_out() ? n_bytes : 0;
}

StdoutBuffer::int_type StdoutBuffer::overflow(int_type byte) {
    if (traits_type::eq_int_type(byte, traits_type::eof())) return traits_type::not_eof(byte);
    const char text = traits_type::to_char_type(byte);
    return xsputn(&text, 1) == 1 ? byte : traits_type::eof();
}

int StdoutBuffer::sync() { return write_out() ? 0 : -1; }

bool StdoutBuffer::write_out() {
    for (size_t at = 0; at < waiting_.size() && error_ == 0;) {
        const ssize_t written = write(STDOUT_FILENO, waiting_.data() + at, waiting_.size() - at);
        if (written >= 0) at += static_cast<size_t>(written);
        else if (errno != EINTR) error_ = errno;
    }
    waiting_.clear();
    return error_ == 0;
}

}  // namespace ggq
