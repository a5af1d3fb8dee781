// GGUF files made byte by byte, of any version, right or wrong: for tests of their reader.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ggq::test {

class GgufBytes {
public:
    explicit GgufBytes(uint32_t version = 3) : version_(version) {}

    template <typename T>
    static std::string raw(T value) {
        return {reinterpret_cast<const char*>(&value), sizeof value};
    }
    std::string length(uint64_t n) const { return version_ == 1 ? raw(static_cast<uint32_t>(n)) : raw(n); }
    std::string text(std::string_view content) const { return length(content.size()).append(content); }

    // A value as it is in the file, of the kind with this number.
    GgufBytes& entry(std::string_view key, uint32_t kind, const std::string& value) {
        entries_ += text(key) + raw(kind) + value;
        ++n_entries_;
        return *this;
    }
    GgufBytes& entry(std::string_view key, uint32_t value) { return entry(key, 4, raw(value)); }
    GgufBytes& entry(std::string_view key, float value) { return entry(key, 6, raw(value)); }
    GgufBytes& entry(std::string_view key, bool value) { return entry(key, 7, raw(static_cast<uint8_t>(value))); }
    GgufBytes& entry(std::string_view key, std::string_view value) { return entry(key, 8, text(value)); }
    GgufBytes& entry(std::string_view key, const char* value) { return entry(key, std::string_view(value)); }
    GgufBytes& entry(std::string_view key, const std::vector<std::string>& values) {
        std::string list = raw(uint32_t{8}) + length(values.size());
        for (const std::string& value : values) list += text(value);
        return entry(key, 9, list);
    }
    template <typename T>
    GgufBytes& list(std::string_view key, uint32_t kind, const std::vector<T>& values) {
        std::string text = raw(kind) + length(values.size());
        for (const T value : values) text += raw(value);
        return entry(key, 9, text);
    }

    // Sizes innermost first, as in the file; at an offset of its own, else behind the one before it.
    GgufBytes& tensor(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type,
                      std::string_view bytes) {
        const uint64_t offset = data_.size();
        data_.append(bytes).resize((data_.size() + 31) / 32 * 32);
        return tensor_at(name, sizes, type, offset);
    }
    GgufBytes& tensor_at(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
        tensors_ += text(name) + raw(static_cast<uint32_t>(sizes.size()));
        for (const uint64_t size : sizes) tensors_ += length(size);
        tensors_ += raw(type) + raw(offset);
        ++n_tensors_;
        return *this;
    }

    std::string file() const {
        std::string bytes = "GGUF" + raw(version_) + length(n_tensors_) + length(n_entries_) + entries_ + tensors_;
        if (n_tensors_ > 0) bytes.resize((bytes.size() + 31) / 32 * 32);
        return bytes + data_;
    }

private:
    uint32_t version_;
    uint64_t n_entries_ = 0, n_tensors_ = 0;
    std::string entries_, tensors_, data_;
};

}  // namespace ggq::test
