#include "ggq/io/gguf_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/utf8.h"
#include "ggq/tensor.h"
#include "kernels/rounding.h"

namespace ggq {

namespace {

static_assert(std::endian::native == std::endian::little, "these GGUF files hold little-endian numbers");

// Those that are not read, for errors.
constexpr std::pair<uint32_t, const char*> kOtherTypes[] = {
    {9, "Q8_1"},   {10, "Q2_K"},  {11, "Q3_K"},  {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
    {19, "IQ1_S"}, {21, "IQ3_S"}, {22, "IQ2_S"}, {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},    {26, "I32"},
    {27, "I64"},   {28, "F64"},   {29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"},  {40, "NVFP4"}};

std::string name_of_other(uint32_t type) {
    for (const auto& [number, name] : kOtherTypes)
        if (number == type) return name;
    return fmt::format("{}, which is not known", type);
}

constexpr uint32_t kLastVersion = 3;
constexpr int64_t kMostAlignment = int64_t{1} << 20;
constexpr const char* kAlignmentKey = "general.alignment";

// What a metadata value is, by the numbers of the files.
enum Kind : uint32_t { u8, i8, u16, i16, u32, i32, f32, truth, text, list, u64, i64, f64 };

class HeaderReader {
public:
    HeaderReader(GgufCursor& cursor, Gguf& to) : cursor_(cursor), to_(to) {}

    void read() {
        read_version();
        const uint64_t n_tensors = cursor_.length(), n_entries = cursor_.length();
        for (uint64_t i = 0; i < n_entries; ++i) read_entry();
        read_alignment();
        for (uint64_t i = 0; i < n_tensors; ++i) read_tensor();
        place_tensors();
    }

private:
    void read_version() {
        std::array<char, 4> magic{};
        cursor_.take(magic.data(), magic.size());
        require(std::string_view(magic.data(), magic.size()) == kGgufMagic,
                "{}: does not begin with GGUF, so it is none", to_.where);
        to_.version = cursor_.number<uint32_t>();
        require(
            to_.version == 0 || to_.version % 0x10000 != 0,
            "{}: is big-endian; only little-endian files are read: convert it with gguf-py's gguf_convert_endian.py",
            to_.where);
        require(to_.version >= 1 && to_.version <= kLastVersion,
                "{}: version {} of GGUF is not known; known are 1 to {}", to_.where, to_.version, kLastVersion);
        cursor_.lengths_are_short(to_.version == 1);
    }

    void read_entry() {
        const std::string key = cursor_.text();
        GgufValue value = read_value(key, cursor_.number<uint32_t>());
        require(to_.metadata.emplace(key, std::move(value)).second, "{}: the key '{}' is there twice", to_.where,
                shown(key));
    }

    GgufValue read_value(const std::string& key, uint32_t kind) {
        switch (kind) {
            case u8: return whole<uint8_t>();
            case i8: return whole<int8_t>();
            case u16: return whole<uint16_t>();
            case i16: return whole<int16_t>();
            case u32: return whole<uint32_t>();
            case i32: return whole<int32_t>();
            case i64: return whole<int64_t>();
            case u64: return large();
            case f32: return static_cast<double>(cursor_.number<float>());
            case f64: return cursor_.number<double>();
            case truth: return cursor_.number<uint8_t>() != 0;
            case text: return cursor_.text();
            case list: return read_list(key, cursor_.number<uint32_t>());
            default: fail("{}: '{}' has a value of kind {}; known are 0 to 12", to_.where, shown(key), kind);
        }
    }

    GgufValue read_list(const std::string& key, uint32_t kind) {
        const uint64_t n = cursor_.length();
        switch (kind) {
            case u8: return numbers<int64_t, uint8_t>(n);
            case i8: return numbers<int64_t, int8_t>(n);
            case u16: return numbers<int64_t, uint16_t>(n);
            case i16: return numbers<int64_t, int16_t>(n);
            case u32: return numbers<int64_t, uint32_t>(n);
            case i32: return numbers<int64_t, int32_t>(n);
            case i64: return numbers<int64_t, int64_t>(n);
            case u64: return numbers<int64_t, uint64_t>(n);
            case f32: return numbers<float, float>(n);
            case f64: return numbers<float, double>(n);
            case truth: return numbers<bool, uint8_t>(n);
            case text: return texts(n);
            default:
                fail("{}: '{}' is a list of values of kind {}; known are numbers, truth values and texts", to_.where,
                     shown(key), kind);
        }
    }

    template <typename From>
    GgufValue whole() {
        return static_cast<int64_t>(cursor_.number<From>());
    }

    GgufValue large() {
        const auto value = cursor_.number<uint64_t>();
        if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return value;
        return static_cast<int64_t>(value);
    }

    template <typename To, typename From>
    GgufValue numbers(uint64_t n) {
        cursor_.expect(n, sizeof(From));
        std::vector<To> values(n);
        for (uint64_t i = 0; i < n; ++i)
            values[i] = static_cast<To>(cursor_.number<From>());  // NOLINT: signed bytes are numbers
        return values;
    }

    GgufValue texts(uint64_t n) {
        cursor_.expect(n, cursor_.length_bytes());
        std::vector<std::string> values(n);
        for (std::string& value : values) value = cursor_.text();
        return values;
    }

    void read_alignment() {
        const int64_t alignment = to_.count(kAlignmentKey).value_or(static_cast<int64_t>(to_.alignment));
        require(alignment > 0 && alignment <= kMostAlignment && (alignment & (alignment - 1)) == 0,
                "{}: {} is {}; expected a power of two up to {}", to_.where, kAlignmentKey, alignment, kMostAlignment);
        to_.alignment = static_cast<uint64_t>(alignment);
    }

    void read_tensor() {
        const std::string name = cursor_.text();
        GgufTensor tensor;
        tensor.shape = read_shape(name);
        tensor.type = read_type(name, cursor_.number<uint32_t>());
        check_size(name, tensor);
        tensor.offset = cursor_.number<uint64_t>();
        require(tensor.offset % to_.alignment == 0,
                "{}: tensor '{}' begins at byte {} of the data, not at a multiple of {}", to_.where, shown(name),
                tensor.offset, to_.alignment);
        require(to_.tensors.emplace(name, tensor).second, "{}: tensor '{}' is there twice", to_.where, shown(name));
    }

    Shape read_shape(const std::string& name) {
        const auto rank = cursor_.number<uint32_t>();
        require(rank >= 1 && rank <= kMaxRank, "{}: tensor '{}' has {} dimensions; expected 1 to {}", to_.where,
                shown(name), rank, kMaxRank);
        Shape shape;
        shape.rank = static_cast<int>(rank);
        for (int i = shape.rank - 1; i >= 0; --i) {
            const uint64_t size = cursor_.length();
            require(size > 0 && size <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()),
                    "{}: tensor '{}' has a side of {} elements", to_.where, shown(name), size);
            shape[i] = static_cast<int64_t>(size);
        }
        return shape;
    }

    GgufType read_type(const std::string& name, uint32_t type) const {
        if (const auto known = gguf_type(type)) return *known;
        fail("{}: tensor '{}' is of type {}; read are {}", to_.where, shown(name), name_of_other(type),
             gguf_type_names());
    }

    void check_size(const std::string& name, const GgufTensor& tensor) const {
        const GgufTypeInfo& type = info(tensor.type);
        int64_t n_bytes = type.bytes;
        bool overflow = false;
        for (int i = 0; i < tensor.shape.rank; ++i)
            overflow |= __builtin_mul_overflow(n_bytes, tensor.shape[i], &n_bytes);
        require(!overflow, "{}: the shape {} of tensor '{}' overflows 64 bits", to_.where, to_string(tensor.shape),
                shown(name));
        require(tensor.row_elems() % type.block == 0,
                "{}: tensor '{}' has rows of {} elements, which is no whole number of blocks of {}, as {} has",
                to_.where, shown(name), tensor.row_elems(), type.block, type.name);
    }

    // Offsets count from the file's beginning from here on; no tensor reaches beyond the file or into another.
    void place_tensors() {
        const uint64_t data = round_up(cursor_.at(), to_.alignment);
        std::vector<std::pair<uint64_t, const std::string*>> order;
        for (auto& [name, tensor] : to_.tensors) {
            const auto n_bytes = static_cast<uint64_t>(tensor.n_bytes());
            const bool inside = data <= cursor_.n_bytes() && tensor.offset <= cursor_.n_bytes() - data &&
                                n_bytes <= cursor_.n_bytes() - data - tensor.offset;
            require(
                inside,
                "{}: tensor '{}' of {} bytes at byte {} of the data ends beyond the file of {} bytes; it is truncated",
                to_.where, shown(name), n_bytes, tensor.offset, cursor_.n_bytes());
            tensor.offset += data;
            order.emplace_back(tensor.offset, &name);
        }
        std::ranges::sort(order);
        for (size_t i = 1; i < order.size(); ++i) {
            const GgufTensor& before = to_.tensors.find(*order[i - 1].second)->second;
            require(before.offset + static_cast<uint64_t>(before.n_bytes()) <= order[i].first,
                    "{}: tensor '{}' overlaps '{}'", to_.where, shown(*order[i].second), shown(*order[i - 1].second));
        }
    }

    GgufCursor& cursor_;
    Gguf& to_;
};

}  // namespace

void read_gguf_header(GgufCursor& cursor, Gguf& to) { HeaderReader(cursor, to).read(); }

}  // namespace ggq
