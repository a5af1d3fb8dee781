// safetensors: 8 bytes little-endian header length, a JSON header, the tensors' bytes without a hole.
//
//   {"__metadata__": {"format": "pt"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
//
// The readers check the whole header before they hand out anything, and read the tensors' bytes into memory of their
// own, one tensor at a time or all of them. The writer lays a file out as the safetensors library does (wider types
// first, then by name; header padded with spaces to 8 bytes), so that a file read and written again is the same file.
// Source: github.com/huggingface/safetensors, README and safetensors/src.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ggq/io/input_file.h"
#include "kernels/view.h"

namespace ggq {

// A tensor of a file, or one to be written: contiguous, little-endian, aligned to its element. `data` is null as long
// as the bytes were not read.
struct FileTensor {
    const void* data = nullptr;
    DType dtype = DType::f32;
    Shape shape;

    int64_t n_bytes() const { return shape.n_elems() * info(dtype).bytes; }
};

using FileTensors = std::map<std::string, FileTensor, std::less<>>;
using FileMetadata = std::map<std::string, std::string>;

struct SafetensorsContent {
    FileTensors tensors;
    FileMetadata metadata;
};

// Checks a whole file that stands in memory; the tensors point into it. `where` names it in errors.
SafetensorsContent parse_safetensors(std::span<const std::byte> file, const std::string& where);

// A file of which the tensors are read one by one, so that memory does not grow with the file.
class SafetensorsReader {
public:
    explicit SafetensorsReader(std::filesystem::path path);

    const std::filesystem::path& path() const { return file_.path(); }
    const FileTensors& tensors() const { return tensors_; }
    const FileMetadata& metadata() const { return metadata_; }
    const FileTensor* find(std::string_view name) const;  // null if there is none
    const FileTensor& at(std::string_view name) const;    // refuses by name if there is none

    // The tensor with its bytes, which are read into `bytes`; it grows if they need more room, and is used again.
    FileTensor read(std::string_view name, std::vector<std::byte>& bytes) const;

    // Fills `to` with the bytes of the tensor from its byte `at` on.
    void read_part(std::string_view name, uint64_t at, std::span<std::byte> to) const;

private:
    InputFile file_;
    FileTensors tensors_;
    FileMetadata metadata_;
    std::map<std::string, uint64_t, std::less<>> offsets_;  // of a tensor's bytes in the file
};

// A file with all its tensors in memory.
class SafetensorsFile {
public:
    explicit SafetensorsFile(std::filesystem::path path);

    const std::filesystem::path& path() const { return path_; }
    const FileTensors& tensors() const { return content_.tensors; }
    const FileMetadata& metadata() const { return content_.metadata; }
    const FileTensor* find(std::string_view name) const;  // null if there is none
    const FileTensor& at(std::string_view name) const;    // refuses by name if there is none

private:
    std::filesystem::path path_;
    std::vector<std::byte> bytes_;
    SafetensorsContent content_;
    std::vector<std::vector<std::byte>> copies_;  // of tensors that old writers left unaligned
};

// Atomic: the file appears whole or not at all.
void write_safetensors(const std::filesystem::path& path, const FileTensors& tensors,
                       const FileMetadata& metadata = {{"format", "pt"}});

// The same for tensors that need not be in host memory at once: `bytes_of` gives those of one when its turn comes,
// valid until it is asked for the next.
using TensorBytes = std::function<const void*(std::string_view name)>;
void write_safetensors(const std::filesystem::path& path, const FileTensors& tensors, const TensorBytes& bytes_of,
                       const FileMetadata& metadata = {{"format", "pt"}});

}  // namespace ggq
