#include "ggq/io/safetensors.h"

#include <algorithm>
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
#include "ggq/io/json_reader.h"
#include "ggq/io/safetensors_layout.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"
#include "ggq/tensor.h"

namespace ggq {

namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors holds little-endian numbers");

constexpr uint64_t kLengthBytes = kHeaderLengthBytes;
constexpr uint64_t kMostHeaderBytes = 100'000'000;  // as the safetensors library has it
constexpr uint64_t kLfsPointerBytes = 64;           // enough to know one by

// Where a tensor stands in the data that follows the header.
struct Range {
    uint64_t begin;
    uint64_t end;
};

// What the header of a file says. Nothing of it is believed before it was checked against the size of the file.
struct Header {
    FileTensors tensors;  // without their bytes
    FileMetadata metadata;
    std::map<std::string, Range, std::less<>> ranges;
};

class HeaderReader {
public:
    // `data_bytes` stand behind the header.
    HeaderReader(std::string_view text, uint64_t data_bytes, const std::string& where)
        : text_(text), data_bytes_(data_bytes), where_(where) {}

    Header read() {
        const json content = parse_json(text_, where_ + ", header", 1, SameKey::refused);
        require(content.is_object(), "{}: the header is not a JSON object", where_);
        Header header;
        for (const auto& [key, value] : content.items()) {
            if (key == kMetadataKey) header.metadata = read_metadata(value);
            else read_tensor(key, value, header);
        }
        check_cover(header.ranges);
        return header;
    }

private:
    FileMetadata read_metadata(const json& value) const {
        FileMetadata metadata;
        if (value.is_null()) return metadata;  // as mlx-lm wrote it
        require(value.is_object(), "{}: the metadata is not a JSON object", where_);
        for (const auto& [key, text] : value.items()) {
            require(text.is_string(), "{}: the metadata entry '{}' is not a text", where_, shown(key));
            metadata.emplace(key, text.get<std::string>());
        }
        return metadata;
    }

    void read_tensor(const std::string& tensor, const json& entry, Header& header) const {
        const bool complete =
            entry.is_object() && entry.contains("dtype") && entry.contains("shape") && entry.contains("data_offsets");
        require(complete, "{}: tensor '{}' lacks dtype, shape or data_offsets", where_, shown(tensor));
        FileTensor result;
        result.dtype = read_dtype(tensor, entry["dtype"]);
        result.shape = read_shape(tensor, entry["shape"]);
        const Range range = read_range(tensor, entry["data_offsets"]);
        const uint64_t expected = checked_bytes(tensor, result);
        require(range.end - range.begin == expected,
                "{}: tensor '{}' {} {} needs {} bytes, but its data_offsets hold {}", where_, shown(tensor),
                entry["dtype"].get<std::string>(), to_string(result.shape), expected, range.end - range.begin);
        header.tensors.emplace(tensor, result);
        header.ranges.emplace(tensor, range);
    }

    DType read_dtype(const std::string& tensor, const json& value) const {
        const std::string text = value.is_string() ? value.get<std::string>() : shown_json(value);
        const std::optional<DType> dtype = safetensors_dtype(text);
        if (!dtype)
            fail("{}: tensor '{}' has dtype {}; known are U8, I8, F16, BF16, I32, F32, F64, I64", where_, shown(tensor),
                 shown(text));
        return *dtype;
    }

    Shape read_shape(const std::string& tensor, const json& value) const {
        require(value.is_array(), "{}: the shape of tensor '{}' is not a list", where_, shown(tensor));
        require(value.size() <= kMaxRank, "{}: tensor '{}' has {} dimensions; at most {} are held", where_,
                shown(tensor), value.size(), kMaxRank);
        Shape shape;
        for (const json& dim : value) {
            constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
            require(dim.is_number_unsigned() && dim.get<uint64_t>() <= kMost,
                    "{}: the shape of tensor '{}' has an entry that is no size: {}", where_, shown(tensor),
                    shown_json(dim));
            shape[shape.rank++] = dim.get<int64_t>();
        }
        return shape;
    }

    Range read_range(const std::string& tensor, const json& value) const {
        const bool two_numbers =
            value.is_array() && value.size() == 2 && value[0].is_number_unsigned() && value[1].is_number_unsigned();
        require(two_numbers, "{}: the data_offsets of tensor '{}' are not two numbers", where_, shown(tensor));
        const Range range{value[0].get<uint64_t>(), value[1].get<uint64_t>()};
        require(range.begin <= range.end, "{}: the data_offsets of tensor '{}' run backwards", where_, shown(tensor));
        require(range.end <= data_bytes_,
                "{}: tensor '{}' ends at byte {} of the data, but the file holds only {}; it is truncated", where_,
                shown(tensor), range.end, data_bytes_);
        return range;
    }

    uint64_t checked_bytes(const std::string& tensor, const FileTensor& t) const {
        int64_t n_bytes = info(t.dtype).bytes;
        bool overflow = false;
        for (int i = 0; i < t.shape.rank; ++i) overflow |= __builtin_mul_overflow(n_bytes, t.shape[i], &n_bytes);
        require(!overflow, "{}: the shape {} of tensor '{}' overflows 64 bits", where_, to_string(t.shape),
                shown(tensor));
        return static_cast<uint64_t>(n_bytes);
    }

    // Every byte of the data belongs to exactly one tensor, as the safetensors library demands too.
    void check_cover(const std::map<std::string, Range, std::less<>>& of_tensors) const {
        std::vector<std::pair<Range, std::string_view>> ranges;
        for (const auto& [tensor, range] : of_tensors) ranges.push_back({range, tensor});
        std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) {
            return std::pair(a.first.begin, a.first.end) < std::pair(b.first.begin, b.first.end);
        });
        uint64_t covered = 0;
        for (const auto& [range, tensor] : ranges) {
            require(range.begin >= covered, "{}: tensor '{}' overlaps the one before it in the file", where_,
                    shown(tensor));
            require(range.begin == covered, "{}: {} bytes before tensor '{}' belong to no tensor", where_,
                    range.begin - covered, shown(tensor));
            covered = range.end;
        }
        require(covered == data_bytes_, "{}: {} bytes at the end of the file belong to no tensor", where_,
                data_bytes_ - covered);
    }

    std::string_view text_;
    uint64_t data_bytes_;
    const std::string& where_;
};

// The length of the header, which the first bytes of a file of `n_bytes` say.
uint64_t header_length(std::span<const std::byte> first, uint64_t n_bytes, const std::string& where) {
    refuse_lfs_pointer(as_text(first), where);
    require(n_bytes >= kLengthBytes, "{}: truncated: {} bytes, a safetensors file has at least {}", where, n_bytes,
            kLengthBytes);
    uint64_t length = 0;
    std::memcpy(&length, first.data(), sizeof length);
    require(length <= n_bytes - kLengthBytes,
            "{}: the header of {} bytes reaches beyond the end of the file of {} bytes; it is truncated or no "
            "safetensors file",
            where, length, n_bytes);
    require(length <= kMostHeaderBytes, "{}: the header has {} bytes; the format allows {}", where, length,
            kMostHeaderBytes);
    return length;
}

std::vector<std::byte> read_bytes(const InputFile& file, uint64_t begin, uint64_t n_bytes) {
    std::vector<std::byte> bytes(n_bytes);
    file.read(begin, bytes);
    return bytes;
}

Header read_header(const InputFile& file) {
    const std::string where = file.path().string();
    const std::vector<std::byte> first = read_bytes(file, 0, std::min(file.n_bytes(), kLfsPointerBytes));
    const uint64_t length = header_length(first, file.n_bytes(), where);
    const std::vector<std::byte> text = read_bytes(file, kLengthBytes, length);
    Header header = HeaderReader(as_text(text), file.n_bytes() - kLengthBytes - length, where).read();
    const uint64_t data = kLengthBytes + length;
    for (auto& [tensor, range] : header.ranges) range = {range.begin + data, range.end + data};
    return header;
}

const FileTensor& tensor_at(const FileTensor* found, std::string_view name, const std::filesystem::path& path) {
    require(found != nullptr, "{}: tensor '{}' is missing", path.string(), shown(name));
    return *found;
}

const FileTensor* tensor_in(const FileTensors& tensors, std::string_view name) {
    const auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second;
}

}  // namespace

SafetensorsContent parse_safetensors(std::span<const std::byte> file, const std::string& where) {
    const uint64_t length = header_length(file, file.size(), where);
    const std::span<const std::byte> data = file.subspan(kLengthBytes + length);
    Header header = HeaderReader(as_text(file.subspan(kLengthBytes, length)), data.size(), where).read();
    for (auto& [tensor, t] : header.tensors) t.data = data.data() + header.ranges.find(tensor)->second.begin;
    return {std::move(header.tensors), std::move(header.metadata)};
}

SafetensorsReader::SafetensorsReader(std::filesystem::path path) : file_(std::move(path)) {
    Header header = read_header(file_);
    tensors_ = std::move(header.tensors);
    metadata_ = std::move(header.metadata);
    for (const auto& [tensor, range] : header.ranges) offsets_.emplace(tensor, range.begin);
}

const FileTensor* SafetensorsReader::find(std::string_view name) const { return tensor_in(tensors_, name); }

const FileTensor& SafetensorsReader::at(std::string_view name) const { return tensor_at(find(name), name, path()); }

FileTensor SafetensorsReader::read(std::string_view name, std::vector<std::byte>& bytes) const {
    FileTensor tensor = at(name);
    const auto n_bytes = static_cast<size_t>(tensor.n_bytes());
    if (bytes.size() < n_bytes) bytes.resize(n_bytes);
    read_part(name, 0, {bytes.data(), n_bytes});
    tensor.data = bytes.data();
    return tensor;
}

void SafetensorsReader::read_part(std::string_view name, uint64_t at, std::span<std::byte> to) const {
    file_.read(offsets_.find(name)->second + at, to);
}

SafetensorsFile::SafetensorsFile(std::filesystem::path path) : path_(std::move(path)) {
    const InputFile file(path_);
    read_header(file);  // before so much memory is taken
    bytes_ = read_bytes(file, 0, file.n_bytes());
    content_ = parse_safetensors(bytes_, path_.string());
    for (auto& [tensor, t] : content_.tensors) {
        const auto alignment = static_cast<uintptr_t>(info(t.dtype).bytes);
        if (reinterpret_cast<uintptr_t>(t.data) % alignment == 0) continue;
        const auto* bytes = static_cast<const std::byte*>(t.data);
        t.data = copies_.emplace_back(bytes, bytes + t.n_bytes()).data();
    }
}

const FileTensor* SafetensorsFile::find(std::string_view name) const { return tensor_in(content_.tensors, name); }

const FileTensor& SafetensorsFile::at(std::string_view name) const { return tensor_at(find(name), name, path()); }

void write_safetensors(const std::filesystem::path& path, const FileTensors& tensors, const FileMetadata& metadata) {
    write_safetensors(
        path, tensors, [&](std::string_view name) { return tensors.find(name)->second.data; }, metadata);
}

void write_safetensors(const std::filesystem::path& path, const FileTensors& tensors, const TensorBytes& bytes_of,
                       const FileMetadata& metadata) {
    const std::vector<NamedTensor> order = in_file_order(tensors);
    const std::string header = safetensors_header(order, metadata);
    const uint64_t length = header.size();
    AtomicFile file(path);
    file.write(&length, sizeof length);
    file.write(header);
    for (const auto& [tensor, t] : order) file.write(bytes_of(tensor), t->n_bytes());
    file.commit();
}

}  // namespace ggq
