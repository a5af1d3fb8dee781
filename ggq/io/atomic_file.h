// A file that appears whole or not at all: written aside, synced to the disk, then renamed into place.
// Whatever goes wrong before commit() (disk full, folder not writable), what was written aside is removed again and
// the old content stands untouched; the ggq::Error names the path and the reason.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace ggq {

class AtomicFile {
public:
    explicit AtomicFile(std::filesystem::path path);
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;
    ~AtomicFile();

    void write(const void* data, int64_t n_bytes);
    void write(std::string_view text);
    void write_at(int64_t offset, const void* data, int64_t n_bytes);  // from that byte of the file on
    void commit();

private:
    std::filesystem::path path_;
    int descriptor_ = -1;
    std::filesystem::path aside_;
};

void write_file(const std::filesystem::path& path, std::string_view content);

void copy_if_there(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace ggq
