// A file mapped read-only into memory for as long as the object lives. An empty file gives an empty span.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace ggq {

class MappedFile {
public:
    explicit MappedFile(std::filesystem::path path);
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    ~MappedFile();

    const std::filesystem::path& path() const { return path_; }
    std::span<const std::byte> bytes() const { return bytes_; }

    // Gives the whole pages inside `part` of this file back to the system; a later read fetches them again.
    void drop(std::span<const std::byte> part) const noexcept;

private:
    std::filesystem::path path_;
    std::span<const std::byte> bytes_;
};

}  // namespace ggq
