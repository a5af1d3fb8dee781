#include "examples/support/line_input.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace ggq {

namespace {

constexpr int kLookMs = 100;  // how often `stop` is asked while nothing comes

}  // namespace

std::optional<std::string> LineInput::next(const std::function<bool()>& stop) {
    for (;;) {
        if (stop()) return std::nullopt;
        const size_t end = read_.find('\n');
        if (end != std::string::npos || ended_) {
            if (read_.empty()) return std::nullopt;
            std::string line = read_.substr(0, end);
            read_.erase(0, end == std::string::npos ? end : end + 1);
            return line;
        }
        pollfd input{STDIN_FILENO, POLLIN, 0};
        const int ready = poll(&input, 1, kLookMs);
        if (ready <= 0) continue;  // nothing yet, or a signal
        std::array<char, 4096> piece{};
        const ssize_t n = read(STDIN_FILENO, piece.data(), piece.size());
        if (n > 0) read_.append(piece.data(), static_cast<size_t>(n));
        else if (n == 0 || (errno != EINTR && errno != EAGAIN)) ended_ = true;
    }
}

}  // namespace ggq
