#include "ggq/io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/atomic_file.h"
#include "ggq/io/json_file.h"
#include "ggq/tensor.h"

namespace ggq {

namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors holds little-endian numbers");

struct DTypeName {
    const char* name;
    DType dtype;
};

// In the order of the safetensors library, which writes the last of this list first.
constexpr std::array<DTypeName, 8> kDTypeNames = {{
    {"U8", DType::u8},
    {"I8", DType::i8},
    {"F16", DType::f16},
    {"BF16", DType::bf16},
    {"I32", DType::i32},
    {"F32", DType::f32},
    {"F64", DType::f64},
    {"I64", DType::i64},
}};

constexpr uint64_t kLengthBytes = 8;
constexpr const char* kMetadataKey = "__metadata__";

std::optional<DType> dtype_of(std::string_view name) {
    for (const DTypeName& row : kDTypeNames)
        if (row.name == name) return row.dtype;
    return std::nullopt;
}

size_t rank_of(DType dtype) {
    const auto row = std::find_if(kDTypeNames.begin(), kDTypeNames.end(), [=](auto& r) { return r.dtype == dtype; });
    GGQ_ASSERT(row != kDTypeNames.end(), name(dtype));
    return static_cast<size_t>(row - kDTypeNames.begin());
}

// Where a tensor stands in the data that follows the header.
struct Range {
    uint64_t begin;
    uint64_t end;
};

class HeaderReader {
public:
    HeaderReader(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

    SafetensorsContent read() {
        const json header = parse_json(as_text(header_bytes()), where_ + ", header", 1, SameKey::refused);
        require(header.is_object(), "{}: the header is not a JSON object", where_);
        SafetensorsContent content;
        for (const auto& [key, value] : header.items()) {
            if (key == kMetadataKey) content.metadata = read_metadata(value);
            else content.tensors.emplace(key, read_tensor(key, value));
        }
        check_cover(content.tensors);
        return content;
    }

private:
    std::span<const std::byte> header_bytes() {
        refuse_lfs_pointer(as_text(file_), where_);
        require(file_.size() >= kLengthBytes, "{}: truncated: {} bytes, a safetensors file has at least {}", where_,
                file_.size(), kLengthBytes);
        uint64_t length = 0;
        std::memcpy(&length, file_.data(), sizeof length);
        require(length <= file_.size() - kLengthBytes,
                "{}: the header of {} bytes reaches beyond the end of the file of {} bytes; it is truncated or no "
                "safetensors file",
                where_, length, file_.size());
        data_ = file_.subspan(kLengthBytes + length);
        return file_.subspan(kLengthBytes, length);
    }

    FileMetadata read_metadata(const json& value) const {
        FileMetadata metadata;
        require(value.is_object(), "{}: the metadata is not a JSON object", where_);
        for (const auto& [key, text] : value.items()) {
            require(text.is_string(), "{}: the metadata entry '{}' is not a text", where_, key);
            metadata.emplace(key, text.get<std::string>());
        }
        return metadata;
    }

    FileTensor read_tensor(const std::string& tensor, const json& entry) const {
        const bool complete =
            entry.is_object() && entry.contains("dtype") && entry.contains("shape") && entry.contains("data_offsets");
        require(complete, "{}: tensor '{}' lacks dtype, shape or data_offsets", where_, tensor);
        FileTensor result;
        result.dtype = read_dtype(tensor, entry["dtype"]);
        result.shape = read_shape(tensor, entry["shape"]);
        const Range range = read_range(tensor, entry["data_offsets"]);
        const uint64_t expected = checked_bytes(tensor, result);
        require(range.end - range.begin == expected,
                "{}: tensor '{}' {} {} needs {} bytes, but its data_offsets hold {}", where_, tensor,
                entry["dtype"].get<std::string>(), to_string(result.shape), expected, range.end - range.begin);
        result.data = data_.data() + range.begin;
        return result;
    }

    DType read_dtype(const std::string& tensor, const json& value) const {
        const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
        const std::optional<DType> dtype = dtype_of(text);
        if (!dtype)
            fail("{}: tensor '{}' has dtype {}; known are U8, I8, F16, BF16, I32, F32, F64, I64", where_, tensor, text);
        return *dtype;
    }

    Shape read_shape(const std::string& tensor, const json& value) const {
        require(value.is_array(), "{}: the shape of tensor '{}' is not a list", where_, tensor);
        require(value.size() <= kMaxRank, "{}: tensor '{}' has {} dimensions; at most {} are held", where_, tensor,
                value.size(), kMaxRank);
        Shape shape;
        for (const json& dim : value) {
            constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
            require(dim.is_number_unsigned() && dim.get<uint64_t>() <= kMost,
                    "{}: the shape of tensor '{}' has an entry that is no size: {}", where_, tensor, dim.dump());
            shape[shape.rank++] = dim.get<int64_t>();
        }
        return shape;
    }

    Range read_range(const std::string& tensor, const json& value) const {
        const bool two_numbers =
            value.is_array() && value.size() == 2 && value[0].is_number_unsigned() && value[1].is_number_unsigned();
        require(two_numbers, "{}: the data_offsets of tensor '{}' are not two numbers", where_, tensor);
        const Range range{value[0].get<uint64_t>(), value[1].get<uint64_t>()};
        require(range.begin <= range.end, "{}: the data_offsets of tensor '{}' run backwards", where_, tensor);
        require(range.end <= data_.size(),
                "{}: tensor '{}' ends at byte {} of the data, but the file holds only {}; it is truncated", where_,
                tensor, range.end, data_.size());
        return range;
    }

    uint64_t checked_bytes(const std::string& tensor, const FileTensor& t) const {
        int64_t n_bytes = info(t.dtype).bytes;
        bool overflow = false;
        for (int i = 0; i < t.shape.rank; ++i) overflow |= __builtin_mul_overflow(n_bytes, t.shape[i], &n_bytes);
        require(!overflow, "{}: the shape {} of tensor '{}' overflows 64 bits", where_, to_string(t.shape), tensor);
        return static_cast<uint64_t>(n_bytes);
    }

    // Every byte of the data belongs to exactly one tensor, as the safetensors library demands too.
    void check_cover(const FileTensors& tensors) const {
        std::vector<std::pair<Range, std::string_view>> ranges;
        for (const auto& [tensor, t] : tensors) {
            const auto begin = static_cast<uint64_t>(static_cast<const std::byte*>(t.data) - data_.data());
            ranges.push_back({{begin, begin + static_cast<uint64_t>(t.n_bytes())}, tensor});
        }
        std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) {
            return std::pair(a.first.begin, a.first.end) < std::pair(b.first.begin, b.first.end);
        });
        uint64_t covered = 0;
        for (const auto& [range, tensor] : ranges) {
            require(range.begin >= covered, "{}: tensor '{}' overlaps the one before it in the file", where_, tensor);
            require(range.begin == covered, "{}: {} bytes before tensor '{}' belong to no tensor", where_,
                    range.begin - covered, tensor);
            covered = range.end;
        }
        require(covered == data_.size(), "{}: {} bytes at the end of the file belong to no tensor", where_,
                data_.size() - covered);
    }

    std::span<const std::byte> file_;
    std::span<const std::byte> data_;
    const std::string& where_;
};

using NamedTensor = std::pair<std::string_view, const FileTensor*>;

std::vector<NamedTensor> in_file_order(const FileTensors& tensors) {
    std::vector<NamedTensor> order;
    for (const auto& [tensor, t] : tensors) order.emplace_back(tensor, &t);
    std::stable_sort(order.begin(), order.end(), [](const NamedTensor& a, const NamedTensor& b) {
        return rank_of(a.second->dtype) > rank_of(b.second->dtype);
    });
    return order;
}

std::string header_of(const std::vector<NamedTensor>& order, const FileMetadata& metadata) {
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!metadata.empty()) header[kMetadataKey] = metadata;
    int64_t offset = 0;
    for (const auto& [tensor, t] : order) {
        const int64_t end = offset + t->n_bytes();
        auto& entry = header[std::string(tensor)];
        entry["dtype"] = kDTypeNames[rank_of(t->dtype)].name;
        entry["shape"] = std::vector<int64_t>(t->shape.dims, t->shape.dims + t->shape.rank);
        entry["data_offsets"] = {offset, end};
        offset = end;
    }
    std::string text = header.dump();
    text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
    return text;
}

}  // namespace

SafetensorsContent parse_safetensors(std::span<const std::byte> file, const std::string& where) {
    return HeaderReader(file, where).read();
}

SafetensorsFile::SafetensorsFile(std::filesystem::path path)
    : file_(std::move(path)), content_(parse_safetensors(file_.bytes(), file_.path().string())) {
    for (auto& [tensor, t] : content_.tensors) {
        const auto alignment = static_cast<uintptr_t>(info(t.dtype).bytes);
        if (reinterpret_cast<uintptr_t>(t.data) % alignment == 0) continue;
        const auto* bytes = static_cast<const std::byte*>(t.data);
        t.data = copies_.emplace_back(bytes, bytes + t.n_bytes()).data();
    }
}

const FileTensor* SafetensorsFile::find(std::string_view name) const {
    const auto found = content_.tensors.find(name);
    return found == content_.tensors.end() ? nullptr : &found->second;
}

const FileTensor& SafetensorsFile::at(std::string_view name) const {
    const FileTensor* tensor = find(name);
    require(tensor != nullptr, "{}: tensor '{}' is missing", path().string(), name);
    return *tensor;
}

void SafetensorsFile::drop(const FileTensor& tensor) const noexcept {
    const std::span<const std::byte> file = file_.bytes();
    const auto* begin = static_cast<const std::byte*>(tensor.data);
    const std::less_equal<const std::byte*> not_after;
    if (not_after(file.data(), begin) && not_after(begin, file.data() + file.size()))
        file_.drop({begin, static_cast<size_t>(tensor.n_bytes())});
}

void write_safetensors(const std::filesystem::path& path, const FileTensors& tensors, const FileMetadata& metadata) {
    write_safetensors(
        path, tensors, [&](std::string_view name) { return tensors.find(name)->second.data; }, metadata);
}

void write_safetensors(const std::filesystem::path& path, const FileTensors& tensors, const TensorSource& bytes_of,
                       const FileMetadata& metadata) {
    const std::vector<NamedTensor> order = in_file_order(tensors);
    const std::string header = header_of(order, metadata);
    const uint64_t length = header.size();
    AtomicFile file(path);
    file.write(&length, sizeof length);
    file.write(header);
    for (const auto& [tensor, t] : order) file.write(bytes_of(tensor), t->n_bytes());
    file.commit();
}

}  // namespace ggq
