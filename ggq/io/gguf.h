// GGUF, versions 1, 2 and 3, little-endian: one file with a model's metadata, vocabulary and tensors.
//
//   "GGUF", version u32, number of tensors, number of metadata entries
//   entries   key, type u32, value: a number, a truth value, a text, or a list of one of them
//   tensors   name, number of dimensions u32, sizes (innermost first), type u32, offset in the data
//   data      from a multiple of general.alignment (32) on, each tensor at such a multiple
//
// Counts, sizes and lengths of texts are u64, in version 1 u32. The reader checks all of it before it hands out
// anything, and reads tensors in parts; whatever is counted in a file is bounded by what the file has room for.
// Source: github.com/ggml-org/ggml, docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ggq/io/input_file.h"
#include "kernels/view.h"

namespace ggq {

// How the elements of a tensor are stored, by the numbers of the files.
enum class GgufType : uint32_t {
    f32 = 0,
    f16 = 1,
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    q4_k = 12,
    q5_k = 13,
    q6_k = 14,
    iq4_nl = 20,
    bf16 = 30
};

struct GgufTypeInfo {
    GgufType type;
    const char* name;  // "Q4_K"
    int64_t block;     // elements that are stored together, along a row
    int64_t bytes;     // of a block
};

const GgufTypeInfo& info(GgufType type);
std::optional<GgufType> gguf_type(std::string_view name);  // "F16", "q8_0"
std::optional<GgufType> gguf_type(uint32_t number);
std::string gguf_type_names();  // of all, for messages

// A tensor of a file: rows one after the other, each of whole blocks.
struct GgufTensor {
    GgufType type = GgufType::f32;
    Shape shape;          // outermost first: linears [out, in]
    uint64_t offset = 0;  // of its first byte in the file

    int64_t row_elems() const { return shape.rank > 0 ? shape[shape.rank - 1] : 1; }
    int64_t row_bytes() const { return row_elems() / info(type).block * info(type).bytes; }
    int64_t n_bytes() const { return shape.n_elems() / info(type).block * info(type).bytes; }
};

// A metadata value. All whole numbers are one kind, whatever their width in the file, as are f32 and f64.
using GgufValue = std::variant<bool, int64_t, uint64_t, double, std::string,  // u64 only where i64 does not hold it
                               std::vector<bool>, std::vector<int64_t>, std::vector<float>, std::vector<std::string>>;

// What stands before the data. Keys and texts are bytes as in the file: of foreign ones show only shown().
struct Gguf {
    std::string where;  // names the file in errors
    uint32_t version = 3;
    uint64_t alignment = 32;
    std::map<std::string, GgufValue, std::less<>> metadata;
    std::map<std::string, GgufTensor, std::less<>> tensors;

    const GgufValue* find(std::string_view key) const;  // null if there is none
    bool has(std::string_view key) const { return find(key) != nullptr; }

    // Nothing, or an empty list, where there is no such key; an Error that names it where it has another kind.
    std::optional<std::string> text(std::string_view key) const;
    std::optional<bool> flag(std::string_view key) const;
    std::optional<int64_t> count(std::string_view key) const;  // 0 to 2^63 - 1
    std::optional<double> number(std::string_view key) const;  // whole ones too
    std::optional<int32_t> token(std::string_view key) const;  // an id: 0 to 2^31 - 1
    const std::vector<std::string>& texts(std::string_view key) const;
    const std::vector<int64_t>& integers(std::string_view key) const;
    const std::vector<float>& numbers(std::string_view key) const;

    const GgufTensor* find_tensor(std::string_view name) const;  // null if there is none
    const GgufTensor& tensor(std::string_view name) const;       // refuses by name if there is none
};

// Checks a whole file that stands in memory.
Gguf parse_gguf(std::span<const std::byte> file, const std::string& where);

// Whether a file begins as GGUF does; false also for what is not there or no file.
bool is_gguf(const std::filesystem::path& path);

// A file of which tensors are read in parts.
class GgufFile {
public:
    explicit GgufFile(std::filesystem::path path);

    const std::filesystem::path& path() const { return file_.path(); }
    const Gguf& content() const { return content_; }

    // Fills `to` with the bytes of a tensor of content() from its byte `at` on.
    void read_part(const GgufTensor& tensor, uint64_t at, std::span<std::byte> to) const;

private:
    InputFile file_;
    Gguf content_;
};

}  // namespace ggq
