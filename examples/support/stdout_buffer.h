// What std::cout writes into while a program runs. The standard's own buffer knows only that it failed: by the time
// somebody asks why, errno is that of another call.
#pragma once

#include <streambuf>
#include <string>

namespace ggq {

class StdoutBuffer final : public std::streambuf {
public:
    StdoutBuffer();            // std::cout writes here
    ~StdoutBuffer() override;  // and as before again
    StdoutBuffer(const StdoutBuffer&) = delete;
    StdoutBuffer& operator=(const StdoutBuffer&) = delete;

    // Writes what is left. Throws Error, with the reason, if any of the text could not be written.
    void require_written();

protected:
    std::streamsize xsputn(const char* text, std::streamsize n_bytes) override;
    int_type overflow(int_type byte) override;
    int sync() override;

private:
    bool write_out();

    std::streambuf* before_;
    size_t most_;  // bytes that wait; a person at a terminal waits for none
    std::string waiting_;
    int error_ = 0;  // errno of the first call that failed; nothing is written after it
};

}  // namespace ggq
