#include "ggq/io/gguf_output.h"

#include "ggq/error.h"
#include "kernels/rounding.h"

namespace ggq {

namespace {

constexpr int64_t kAlignment = 32;
constexpr size_t kMostNameBytes = 63;
enum : uint32_t { kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kText = 8, kList = 9 };

template <typename T>
void put(std::string& bytes, T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& bytes, std::string_view text) {
    put(bytes, uint64_t{text.size()});
    bytes.append(text);
}

int64_t bytes_of(const NamedGgufTensor& t) { return GgufTensor{t.type, t.shape, 0}.n_bytes(); }

std::string header_of(const GgufEntries& entries, const std::vector<NamedGgufTensor>& tensors) {
    std::string bytes = "GGUF";
    put(bytes, uint32_t{3});
    put(bytes, uint64_t{tensors.size()});
    put(bytes, entries.count());
    bytes += entries.bytes();
    uint64_t offset = 0;
    for (const NamedGgufTensor& t : tensors) {
        require(t.name.size() <= kMostNameBytes, "{}: a name in a GGUF file has at most {} bytes", t.name,
                kMostNameBytes);
        put_text(bytes, t.name);
        put(bytes, static_cast<uint32_t>(t.shape.rank));
        for (int i = t.shape.rank - 1; i >= 0; --i) put(bytes, static_cast<uint64_t>(t.shape[i]));
        put(bytes, static_cast<uint32_t>(t.type));
        put(bytes, offset);
        offset += static_cast<uint64_t>(round_up(bytes_of(t), kAlignment));
    }
    bytes.resize(round_up(bytes.size(), static_cast<size_t>(kAlignment)), '\0');
    return bytes;
}

}  // namespace

void GgufEntries::begin(std::string_view key, uint32_t type) {
    ++count_;
    put_text(bytes_, key);
    put(bytes_, type);
}

void GgufEntries::begin_list(std::string_view key, uint32_t type, uint64_t n) {
    begin(key, kList);
    put(bytes_, type);
    put(bytes_, n);
}

void GgufEntries::u32(std::string_view key, uint32_t value) {
    begin(key, kU32);
    put(bytes_, value);
}

void GgufEntries::f32(std::string_view key, float value) {
    begin(key, kF32);
    put(bytes_, value);
}

void GgufEntries::flag(std::string_view key, bool value) {
    begin(key, kBool);
    put(bytes_, static_cast<uint8_t>(value));
}

void GgufEntries::text(std::string_view key, std::string_view value) {
    begin(key, kText);
    put_text(bytes_, value);
}

void GgufEntries::texts(std::string_view key, const std::vector<std::string>& values) {
    begin_list(key, kText, values.size());
    for (const std::string& value : values) put_text(bytes_, value);
}

void GgufEntries::i32s(std::string_view key, std::span<const int32_t> values) {
    begin_list(key, kI32, values.size());
    for (int32_t value : values) put(bytes_, value);
}

void GgufEntries::f32s(std::string_view key, std::span<const float> values) {
    begin_list(key, kF32, values.size());
    for (float value : values) put(bytes_, value);
}

GgufOutput::GgufOutput(const std::filesystem::path& path, const GgufEntries& entries,
                       const std::vector<NamedGgufTensor>& tensors)
    : file_(path) {
    const std::string header = header_of(entries, tensors);
    file_.write(header);
    end_ = std::ssize(header);
    for (const NamedGgufTensor& t : tensors) {
        places_[t.name] = {end_, bytes_of(t)};
        missing_ += bytes_of(t);
        end_ += round_up(bytes_of(t), kAlignment);
    }
}

void GgufOutput::write(std::string_view name, int64_t at, std::span<const std::byte> bytes) {
    const auto found = places_.find(name);
    GGQ_ASSERT(found != places_.end(), std::string(name));
    const Place& place = found->second;
    GGQ_ASSERT(at >= 0 && at + std::ssize(bytes) <= place.n_bytes, std::string(name));
    missing_ -= std::ssize(bytes);
    file_.write_at(place.begin + at, bytes.data(), std::ssize(bytes));
}

void GgufOutput::commit() {
    GGQ_ASSERT(missing_ == 0, "a file lacks tensors");
    // Holes between tensors are zeros; the last one is padded as well.
    int64_t last = 0;
    for (const auto& [name, place] : places_) last = std::max(last, place.begin + place.n_bytes);
    const std::string zeros(static_cast<size_t>(places_.empty() ? 0 : end_ - last), '\0');
    if (!zeros.empty()) file_.write_at(last, zeros.data(), std::ssize(zeros));
    file_.commit();
}

int64_t GgufOutput::n_bytes(const GgufEntries& entries, const std::vector<NamedGgufTensor>& tensors) {
    int64_t sum = std::ssize(header_of(entries, tensors));
    for (const NamedGgufTensor& t : tensors) sum += round_up(bytes_of(t), kAlignment);
    return sum;
}

}  // namespace ggq
