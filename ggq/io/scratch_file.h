// A file without a name for what does not fit into memory: bytes are put at its end and read again from anywhere. It
// lies in the folder for temporary files (TMPDIR) and is gone with the process, however that ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace ggq {

class ScratchFile {
public:
    ScratchFile();
    ScratchFile(const ScratchFile&) = delete;
    ScratchFile& operator=(const ScratchFile&) = delete;
    ~ScratchFile();

    // Throws Error naming the folder where the disk is full.
    void append(std::span<const std::byte> bytes);
    // Of what was appended.
    void read(uint64_t offset, std::span<std::byte> to) const;
    uint64_t n_bytes() const { return n_bytes_; }

private:
    std::filesystem::path folder_;
    int descriptor_ = -1;
    uint64_t n_bytes_ = 0;
};

}  // namespace ggq
