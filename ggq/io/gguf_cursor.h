// What stands before the tensors of a GGUF file, read from front to back through a window: each number and text is
// checked against the size of the file before it is taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace ggq {

class GgufCursor {
public:
    // Fills `to` with the file's bytes from `at` on.
    using Read = std::function<void(uint64_t at, std::span<std::byte> to)>;

    // `where` must outlive it.
    GgufCursor(Read read, uint64_t n_bytes, const std::string& where)
        : read_(std::move(read)), n_bytes_(n_bytes), where_(where) {}

    uint64_t at() const { return at_; }
    uint64_t n_bytes() const { return n_bytes_; }  // of the file

    void lengths_are_short(bool they_are) { short_lengths_ = they_are; }  // u32, as in version 1
    uint64_t length_bytes() const { return short_lengths_ ? 4 : 8; }

    // Refuses where the file has no room for n items of at least so many bytes, before memory is taken for them.
    void expect(uint64_t n, uint64_t item_bytes) const;

    void take(void* to, uint64_t n_bytes);

    template <typename T>
    T number() {
        static_assert(std::is_arithmetic_v<T>);
        T value;
        take(&value, sizeof value);
        return value;
    }

    uint64_t length();
    std::string text();

private:
    void fill();

    Read read_;
    uint64_t n_bytes_;
    const std::string& where_;
    bool short_lengths_ = false;
    uint64_t at_ = 0;
    std::vector<std::byte> window_;
    uint64_t window_at_ = 0;  // of its first byte in the file
};

}  // namespace ggq
