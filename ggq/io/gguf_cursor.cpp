#include "ggq/io/gguf_cursor.h"

#include <algorithm>
#include <cstring>

#include "ggq/error.h"

namespace ggq {

namespace {

constexpr uint64_t kWindowBytes = uint64_t{1} << 16;
constexpr uint64_t kMostHeaderBytes = uint64_t{1}
                                      << 27;  // a vocabulary of 256,000 tokens and its merges take some 2^24

}  // namespace

void GgufCursor::expect(uint64_t n, uint64_t item_bytes) const {
    const uint64_t left = n_bytes_ - at_;
    require(n <= left / item_bytes,
            "{}: {} items of {} bytes at byte {} reach beyond the file of {} bytes; it is truncated", where_, n,
            item_bytes, at_, n_bytes_);
    require(n * item_bytes <= kMostHeaderBytes - std::min(at_, kMostHeaderBytes),
            "{}: the metadata takes more than {} bytes, beyond any vocabulary", where_, kMostHeaderBytes);
}

void GgufCursor::fill() {
    window_at_ = at_;
    window_.resize(std::min(kWindowBytes, n_bytes_ - at_));
    read_(at_, window_);
}

void GgufCursor::take(void* to, uint64_t n_bytes) {
    expect(n_bytes, 1);
    for (auto* out = static_cast<std::byte*>(to); n_bytes > 0;) {
        if (at_ - window_at_ >= window_.size()) fill();
        const uint64_t from = at_ - window_at_, n = std::min<uint64_t>(n_bytes, window_.size() - from);
        std::memcpy(out, window_.data() + from, n);
        at_ += n;
        out += n;
        n_bytes -= n;
    }
}

uint64_t GgufCursor::length() { return short_lengths_ ? number<uint32_t>() : number<uint64_t>(); }

std::string GgufCursor::text() {
    const uint64_t n = length();
    expect(n, 1);
    std::string text(n, '\0');
    take(text.data(), n);
    return text;
}

}  // namespace ggq
