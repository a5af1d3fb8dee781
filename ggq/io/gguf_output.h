// Writing GGUF files, version 3 (see ggq/io/gguf.h), piece by piece and in any order of the tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ggq/io/atomic_file.h"
#include "ggq/io/gguf.h"

namespace ggq {

// Keys and values, in the order in which they are put. The names of the functions are the types in the file.
class GgufEntries {
public:
    void u32(std::string_view key, uint32_t value);
    void f32(std::string_view key, float value);
    void flag(std::string_view key, bool value);
    void text(std::string_view key, std::string_view value);
    void texts(std::string_view key, const std::vector<std::string>& values);
    void i32s(std::string_view key, std::span<const int32_t> values);
    void f32s(std::string_view key, std::span<const float> values);

    uint64_t count() const { return count_; }
    const std::string& bytes() const { return bytes_; }

private:
    void begin(std::string_view key, uint32_t type);
    void begin_list(std::string_view key, uint32_t type, uint64_t n);

    uint64_t count_ = 0;
    std::string bytes_;
};

struct NamedGgufTensor {
    std::string name;  // of at most 63 bytes, as llama.cpp holds them
    GgufType type = GgufType::f32;
    Shape shape;  // outermost first; rows of whole blocks
};

class GgufOutput {
public:
    GgufOutput(const std::filesystem::path& path, const GgufEntries& entries,
               const std::vector<NamedGgufTensor>& tensors);

    // Bytes of a tensor, from its byte `at` on; of each tensor all, once.
    void write(std::string_view name, int64_t at, std::span<const std::byte> bytes);

    // Atomic: the file appears whole or not at all.
    void commit();

    static int64_t n_bytes(const GgufEntries& entries, const std::vector<NamedGgufTensor>& tensors);

private:
    struct Place {
        int64_t begin = 0, n_bytes = 0;
    };

    AtomicFile file_;
    std::map<std::string, Place, std::less<>> places_;
    int64_t end_ = 0, missing_ = 0;
};

}  // namespace ggq
