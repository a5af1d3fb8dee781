// Folders that change in one step: the files are written aside, synced to the disk, then renamed into place. Whatever
// goes wrong before commit(), what was written aside is removed again and the old content stands untouched.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace ggq {

// What commit() does when the folder is there already: `replace` swaps the old folder for the new one and removes the
// old one; `merge` keeps its other content and renames the new files into it, once all of them are on the disk.
enum class IfFolderExists { replace, merge };

class AtomicFolder {
public:
    // Renames of several files are no single step. Where they are merged, `key_file` is the one without which nobody
    // loads the folder: the old one goes before the others change and the new one comes when all of them stand, so that
    // a process killed in between leaves no mixture of old and new that anybody takes for a whole.
    AtomicFolder(std::filesystem::path path, IfFolderExists policy, std::string key_file = "");
    AtomicFolder(const AtomicFolder&) = delete;
    AtomicFolder& operator=(const AtomicFolder&) = delete;
    ~AtomicFolder();

    // The folder aside: write the files in here, by any means.
    const std::filesystem::path& staging() const { return aside_; }
    void commit();

    // Where files are merged: those of old content that belong to nothing if the new one lacks them, and go while there
    // is no key file.
    void supersede(std::vector<std::string> names) { superseded_ = std::move(names); }

    // The name that staging() has a name aside of, within the folder, where files are merged.
    static constexpr const char* kMergedName = ".new";

private:
    void move_files();

    std::filesystem::path path_;
    std::filesystem::path aside_;
    IfFolderExists policy_;
    std::string key_file_;
    std::vector<std::string> superseded_;
};

// Removes a folder in one step: it is gone under its name before the first of its files is. Throws Error if it cannot
// be renamed.
void remove_folder(const std::filesystem::path& path);

}  // namespace ggq
