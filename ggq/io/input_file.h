// Files that are read: opened so that nothing waits and nothing ends the process, whatever stands at a path.
//
// Only regular files are taken (where it is said, pipes that this process holds already, as of a shell's <(...)): a
// FIFO would be waited for, a device may never end. Bytes are read and never mapped: a mapped file that another program
// shortens kills the process that looks at it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace ggq {

// Whether there is something at the path. A link to nothing, and what cannot be looked at (no permission, a loop of
// links, a name that is too long), is refused instead of taken for nothing.
bool is_there(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);

// A text of a model folder (configuration, tokenizer, index) may be a link within its folder, or into the store of
// blobs of Hugging Face's cache (models--NAME/blobs/HASH); a link to elsewhere is refused, so that a folder from
// somebody else cannot name a file of this machine to be read, shown in an error, or copied beside an adapter. Tensors
// may lie anywhere: what is not safetensors cannot be read as such.
void refuse_link_out(const std::filesystem::path& file);

class InputFile {
public:
    enum class Takes { files, pipes_too };

    explicit InputFile(std::filesystem::path path, Takes takes = Takes::files);
    InputFile(InputFile&& other) noexcept;
    InputFile& operator=(InputFile&& other) noexcept;
    ~InputFile();

    const std::filesystem::path& path() const { return path_; }
    uint64_t n_bytes() const { return n_bytes_; }  // when it was opened; of a pipe 0

    // Fills `to` with what stands from `offset` on; refuses a file that has become shorter since.
    void read(uint64_t offset, std::span<std::byte> to) const;

    std::string read_all() const;  // from the beginning to the end, once
    // What comes next, of a pipe too, at least a byte; 0: the end.
    size_t read_next(std::span<std::byte> to) const;

private:
    std::filesystem::path path_;
    int descriptor_ = -1;
    uint64_t n_bytes_ = 0;
};

}  // namespace ggq
