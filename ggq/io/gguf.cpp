#include "ggq/io/gguf.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/gguf_header.h"
#include "ggq/io/text_file.h"
#include "ggq/io/utf8.h"

namespace ggq {

namespace {

constexpr GgufTypeInfo kTypes[] = {
    {GgufType::f32, "F32", 1, 4},       {GgufType::f16, "F16", 1, 2},       {GgufType::bf16, "BF16", 1, 2},
    {GgufType::q8_0, "Q8_0", 32, 34},   {GgufType::q4_0, "Q4_0", 32, 18},   {GgufType::q4_1, "Q4_1", 32, 20},
    {GgufType::q5_0, "Q5_0", 32, 22},   {GgufType::q5_1, "Q5_1", 32, 24},   {GgufType::q4_k, "Q4_K", 256, 144},
    {GgufType::q5_k, "Q5_K", 256, 176}, {GgufType::q6_k, "Q6_K", 256, 210}, {GgufType::iq4_nl, "IQ4_NL", 32, 18},
};

Gguf read_content(const GgufCursor::Read& read, uint64_t n_bytes, const std::string& where) {
    std::array<std::byte, 64> first{};
    const size_t n_first = std::min<uint64_t>(n_bytes, first.size());
    read(0, {first.data(), n_first});
    refuse_lfs_pointer(as_text({first.data(), n_first}), where);
    Gguf content;
    content.where = where;
    GgufCursor cursor(read, n_bytes, where);
    read_gguf_header(cursor, content);
    return content;
}

constexpr const char* kKindNames[] = {
    "a truth value",          "a whole number",          "a whole number",    "a number",       "a text",
    "a list of truth values", "a list of whole numbers", "a list of numbers", "a list of texts"};
static_assert(std::size(kKindNames) == std::variant_size_v<GgufValue>);

[[noreturn]] void refuse(const Gguf& gguf, std::string_view key, const char* expected) {
    fail("{}: '{}': expected {}, got {}", gguf.where, shown(key), expected, kKindNames[gguf.find(key)->index()]);
}

template <typename T>
const T* value_of(const Gguf& gguf, std::string_view key, const char* expected) {
    const GgufValue* value = gguf.find(key);
    if (!value) return nullptr;
    if (const T* found = std::get_if<T>(value)) return found;
    refuse(gguf, key, expected);
}

// An empty list has no kind that matters.
template <typename T>
const std::vector<T>& list_of(const Gguf& gguf, std::string_view key, const char* expected) {
    static const std::vector<T> none;
    const GgufValue* value = gguf.find(key);
    const bool empty = !value || std::visit(
                                     [](const auto& v) {
                                         if constexpr (requires { v.front(); }) return v.empty();
                                         else return false;
                                     },
                                     *value);
    if (empty && !(value && std::holds_alternative<std::string>(*value))) return none;
    return *value_of<std::vector<T>>(gguf, key, expected);
}

}  // namespace

const GgufTypeInfo& info(GgufType type) {
    const auto row = std::ranges::find(kTypes, type, &GgufTypeInfo::type);
    GGQ_ASSERT(row != std::end(kTypes), "a type that is not read");
    return *row;
}

std::optional<GgufType> gguf_type(std::string_view name) {
    const auto same = [](char a, char b) { return a == (b >= 'a' && b <= 'z' ? b - 'a' + 'A' : b); };
    for (const GgufTypeInfo& row : kTypes)
        if (std::ranges::equal(std::string_view(row.name), name, same)) return row.type;
    return std::nullopt;
}

std::optional<GgufType> gguf_type(uint32_t number) {
    for (const GgufTypeInfo& row : kTypes)
        if (static_cast<uint32_t>(row.type) == number) return row.type;
    return std::nullopt;
}

std::string gguf_type_names() {
    std::string text;
    for (const GgufTypeInfo& row : kTypes) text += (text.empty() ? "" : ", ") + std::string(row.name);
    return text;
}

const GgufValue* Gguf::find(std::string_view key) const {
    const auto found = metadata.find(key);
    return found == metadata.end() ? nullptr : &found->second;
}

std::optional<std::string> Gguf::text(std::string_view key) const {
    const auto* found = value_of<std::string>(*this, key, "a text");
    return found ? std::optional(*found) : std::nullopt;
}

std::optional<bool> Gguf::flag(std::string_view key) const {
    const auto* found = value_of<bool>(*this, key, "a truth value");
    return found ? std::optional(*found) : std::nullopt;
}

std::optional<int64_t> Gguf::count(std::string_view key) const {
    const auto* found = value_of<int64_t>(*this, key, "a whole number up to 2^63 - 1");
    if (!found) return std::nullopt;
    require(*found >= 0, "{}: '{}': expected 0 or more, got {}", where, shown(key), *found);
    return *found;
}

std::optional<double> Gguf::number(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value && std::holds_alternative<int64_t>(*value)) return static_cast<double>(std::get<int64_t>(*value));
    const auto* found = value_of<double>(*this, key, "a number");
    return found ? std::optional(*found) : std::nullopt;
}

std::optional<int32_t> Gguf::token(std::string_view key) const {
    const std::optional<int64_t> id = count(key);
    if (!id) return std::nullopt;
    require(*id <= std::numeric_limits<int32_t>::max(), "{}: '{}': expected a token id, got {}", where, shown(key),
            *id);
    return static_cast<int32_t>(*id);
}

const std::vector<std::string>& Gguf::texts(std::string_view key) const {
    return list_of<std::string>(*this, key, "a list of texts");
}

const std::vector<int64_t>& Gguf::integers(std::string_view key) const {
    return list_of<int64_t>(*this, key, "a list of whole numbers");
}

const std::vector<float>& Gguf::numbers(std::string_view key) const {
    return list_of<float>(*this, key, "a list of numbers");
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
    const auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second;
}

const GgufTensor& Gguf::tensor(std::string_view name) const {
    const GgufTensor* found = find_tensor(name);
    require(found != nullptr, "{}: tensor '{}' is missing", where, shown(name));
    return *found;
}

Gguf parse_gguf(std::span<const std::byte> file, const std::string& where) {
    const auto read = [file](uint64_t at, std::span<std::byte> to) {
        if (!to.empty()) std::memcpy(to.data(), file.data() + at, to.size());
    };
    return read_content(read, file.size(), where);
}

bool is_gguf(const std::filesystem::path& path) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) return false;
    const InputFile file(path);
    if (file.n_bytes() < kGgufMagic.size()) return false;
    std::array<std::byte, kGgufMagic.size()> magic{};
    file.read(0, magic);
    return as_text(magic) == kGgufMagic;
}

GgufFile::GgufFile(std::filesystem::path path) : file_(std::move(path)) {
    const auto read = [this](uint64_t at, std::span<std::byte> to) { file_.read(at, to); };
    content_ = read_content(read, file_.n_bytes(), file_.path().string());
}

void GgufFile::read_part(const GgufTensor& tensor, uint64_t at, std::span<std::byte> to) const {
    GGQ_ASSERT(at + to.size() <= static_cast<uint64_t>(tensor.n_bytes()), "a part beyond its tensor");
    file_.read(tensor.offset + at, to);
}

}  // namespace ggq
