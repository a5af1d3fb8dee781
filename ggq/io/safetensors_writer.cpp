#include "ggq/io/safetensors_writer.h"

#include <cstring>
#include <utility>
#include <vector>

#include "ggq/error.h"
#include "ggq/io/safetensors_layout.h"

namespace ggq {

namespace {

FileTensors texts_as_tensors(const std::map<std::string, int64_t>& texts) {
    FileTensors tensors;
    for (const auto& [name, most] : texts) tensors[name] = {nullptr, DType::u8, {most}};
    return tensors;
}

// Of tensors, and of texts behind them.
std::string header_of(const FileTensors& tensors, const FileTensors& texts, const FileMetadata& metadata) {
    std::vector<NamedTensor> order = in_file_order(tensors);
    for (const auto& [name, text] : texts) order.emplace_back(name, &text);
    return safetensors_header(order, metadata);
}

int64_t sum_of_bytes(const FileTensors& tensors) {
    int64_t sum = 0;
    for (const auto& [name, t] : tensors) sum += t.n_bytes();
    return sum;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, FileTensors tensors,
                                     const std::map<std::string, int64_t>& texts, FileMetadata metadata)
    : file_(path), tensors_(std::move(tensors)), metadata_(std::move(metadata)) {
    for (const auto& [name, most] : texts) texts_[name];
    data_begin_ =
        static_cast<int64_t>(kHeaderLengthBytes + header_of(tensors_, texts_as_tensors(texts), metadata_).size());
    data_end_ = data_begin_;
    for (const auto& [name, t] : in_file_order(tensors_)) {
        places_[std::string(name)] = data_end_;
        data_end_ += t->n_bytes();
    }
    missing_ = data_end_ - data_begin_ + std::ssize(texts_);
}

void SafetensorsWriter::write(std::string_view name, int64_t at, std::span<const std::byte> bytes) {
    const auto place = places_.find(name);
    GGQ_ASSERT(place != places_.end(), std::string(name));
    GGQ_ASSERT(at >= 0 && at + std::ssize(bytes) <= tensors_.find(name)->second.n_bytes(), std::string(name));
    missing_ -= std::ssize(bytes);
    file_.write_at(place->second + at, bytes.data(), std::ssize(bytes));
}

void SafetensorsWriter::write_text(const std::string& name, const std::string& text) {
    const auto place = texts_.find(name);
    GGQ_ASSERT(place != texts_.end() && !text.empty(), name);
    place->second = text;
    --missing_;
}

void SafetensorsWriter::commit() {
    GGQ_ASSERT(complete(), "a file lacks tensors");
    FileTensors texts;
    std::string all;
    for (const auto& [name, text] : texts_) {
        texts[name] = {nullptr, DType::u8, {std::ssize(text)}};
        all += text;
    }
    std::string header = header_of(tensors_, texts, metadata_);
    const auto length = static_cast<uint64_t>(data_begin_) - kHeaderLengthBytes;
    GGQ_ASSERT(header.size() <= length, "texts are longer than was said");
    header.resize(length, ' ');
    file_.write_at(0, &length, sizeof length);
    file_.write_at(kHeaderLengthBytes, header.data(), std::ssize(header));
    file_.write_at(data_end_, all.data(), std::ssize(all));
    file_.commit();
}

int64_t SafetensorsWriter::n_bytes(const FileTensors& tensors, const std::map<std::string, int64_t>& texts) {
    const FileTensors late = texts_as_tensors(texts);
    return static_cast<int64_t>(kHeaderLengthBytes + header_of(tensors, late, {{"format", "pt"}}).size()) +
           sum_of_bytes(tensors) + sum_of_bytes(late);
}

}  // namespace ggq
