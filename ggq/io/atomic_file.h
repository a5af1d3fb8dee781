// Files and folders that appear whole or not at all: written aside, synced to the disk, then renamed into place.
// Whatever goes wrong before commit() (disk full, folder not writable), what was written aside is removed again and
// the old content stands untouched; the ggq::Error names the path and the reason.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace ggq {

class AtomicFile {
public:
    explicit AtomicFile(std::filesystem::path path);
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;
    ~AtomicFile();

    void write(const void* data, int64_t n_bytes);
    void write(std::string_view text);
    void commit();

private:
    std::filesystem::path path_;
    std::filesystem::path aside_;
    int descriptor_ = -1;
};

void write_file(const std::filesystem::path& path, std::string_view content);

void copy_if_there(const std::filesystem::path& from, const std::filesystem::path& to);

// What commit() does when the folder is there already: `replace` swaps the old folder for the new one and removes the
// old one; `merge` keeps its other content and renames the new files into it, once all of them are on the disk.
enum class IfFolderExists { replace, merge };

class AtomicFolder {
public:
    AtomicFolder(std::filesystem::path path, IfFolderExists policy);
    AtomicFolder(const AtomicFolder&) = delete;
    AtomicFolder& operator=(const AtomicFolder&) = delete;
    ~AtomicFolder();

    // The folder aside: write the files in here, by any means.
    const std::filesystem::path& staging() const { return aside_; }
    void commit();

private:
    std::filesystem::path path_;
    std::filesystem::path aside_;
    IfFolderExists policy_;
};

// Refuses a file, and a folder with content unless `overwrite`, which keeps the content: files of the same name are
// replaced as they are written. Makes nothing.
void check_output_folder(const std::filesystem::path& path, bool overwrite);

// The folder of a run: made, and proved to be writable. A run that fails before it has written anything leaves nothing:
// the folders made for it go again with this object if they are still empty.
class OutputFolder {
public:
    explicit OutputFolder(const std::filesystem::path& path);
    OutputFolder(const OutputFolder&) = delete;
    OutputFolder& operator=(const OutputFolder&) = delete;

private:
    // An object of its own, so that a constructor that fails halfway cleans up too.
    struct Made {
        std::vector<std::filesystem::path> folders;  // the innermost first
        ~Made();
    };
    Made made_;
};

}  // namespace ggq
