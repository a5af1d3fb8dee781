// A safetensors file whose tensors are written in any order, piece by piece, so that memory does not grow with it.
//
// The layout is that of write_safetensors(): every tensor's place is known from the beginning. Texts (u8 tensors whose
// length is known only when all else is there, such as a quant_state of bitsandbytes) lie behind the tensors; room is
// kept for the longest header that they could make, and what of it is not needed is spaces.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "ggq/io/atomic_file.h"
#include "ggq/io/safetensors.h"

namespace ggq {

class SafetensorsWriter {
public:
    // `tensors` without their bytes; `texts`: the most bytes of each.
    SafetensorsWriter(const std::filesystem::path& path, FileTensors tensors,
                      const std::map<std::string, int64_t>& texts = {}, FileMetadata metadata = {{"format", "pt"}});

    // Bytes of a tensor, from its byte `at` on; of each tensor all, once.
    void write(std::string_view name, int64_t at, std::span<const std::byte> bytes);
    void write_text(const std::string& name, const std::string& text);

    bool complete() const { return missing_ == 0; }

    // Atomic: the file appears whole or not at all.
    void commit();

    // At most, of a file with these tensors and texts.
    static int64_t n_bytes(const FileTensors& tensors, const std::map<std::string, int64_t>& texts = {});

private:
    AtomicFile file_;
    FileTensors tensors_;
    std::map<std::string, std::string> texts_;
    FileMetadata metadata_;
    int64_t data_begin_ = 0, data_end_ = 0;  // of the tensors; texts follow
    std::map<std::string, int64_t, std::less<>> places_;
    int64_t missing_ = 0;  // bytes and texts that did not come yet
};

}  // namespace ggq
