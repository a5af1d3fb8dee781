#include "ggq/io/atomic_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/write_aside.h"

namespace ggq {

namespace fs = std::filesystem;

namespace {

fs::path make_folder_aside(const fs::path& path) {
    make_folders(path.has_parent_path() ? path.parent_path() : ".");
    return make_aside(path, [](const fs::path& aside) { return mkdir(aside.c_str(), 0777) == 0; });
}

bool exchange(const fs::path& one, const fs::path& other) {
#ifdef RENAME_EXCHANGE
    return renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0;
#else
    return false;
#endif
}

// Without an exchange in one call there is a moment in which neither stands under its name; both are whole aside.
void swap_in(const fs::path& aside, const fs::path& path) {
    std::error_code ignored;
    if (exchange(aside, path)) {
        fs::remove_all(aside, ignored);
        return;
    }
    const fs::path old = aside.string() + "-old";
    rename_or_fail(path, old);
    try {
        rename_or_fail(aside, path);
    } catch (const Error&) {
        fs::rename(old, path, ignored);
        throw;
    }
    fs::remove_all(old, ignored);
}

}  // namespace

AtomicFolder::AtomicFolder(fs::path path, IfFolderExists policy, std::string key_file)
    : path_(std::move(path)), policy_(policy), key_file_(std::move(key_file)) {
    if (!path_.has_filename()) path_ = path_.parent_path();  // "out/" and "out" are the same folder
    // Merged content is staged inside the folder: its parent may be another file system, or not writable.
    aside_ = make_folder_aside(policy_ == IfFolderExists::merge ? path_ / kMergedName : path_);
}

AtomicFolder::~AtomicFolder() {
    std::error_code ignored;
    if (!aside_.empty()) fs::remove_all(aside_, ignored);
}

void AtomicFolder::move_files() {
    for (const auto& entry : fs::directory_iterator(aside_)) {
        const fs::path target = path_ / entry.path().filename();
        require(!fs::is_directory(target), "cannot write {}: a folder of that name is there", target.string());
    }
    const bool has_key = !key_file_.empty() && fs::exists(aside_ / key_file_);
    if (has_key && fs::remove(path_ / key_file_)) sync_path(path_);
    for (const std::string& name : superseded_)
        if (!fs::exists(aside_ / name) && !fs::is_directory(path_ / name)) fs::remove(path_ / name);
    for (const auto& entry : fs::directory_iterator(aside_))
        if (!has_key || entry.path().filename() != key_file_)
            rename_or_fail(entry.path(), path_ / entry.path().filename());
    if (has_key) {
        sync_path(path_);
        rename_or_fail(aside_ / key_file_, path_ / key_file_);
    }
    fs::remove(aside_);
    sync_path(path_);
}

void AtomicFolder::commit() {
    try {
        for (const auto& entry : fs::recursive_directory_iterator(aside_)) sync_path(entry.path());
        sync_path(aside_);
        if (policy_ == IfFolderExists::merge) move_files();
        else if (fs::exists(path_)) swap_in(aside_, path_);
        else rename_or_fail(aside_, path_);
    } catch (const fs::filesystem_error& error) {
        fail_writing(path_, error.code());
    }
    aside_.clear();
    // Merged content needs nothing of the parent, which may not be readable.
    if (policy_ == IfFolderExists::replace) sync_parent(path_);
}

void remove_folder(const fs::path& path) {
    const fs::path aside = make_aside(path, [&](const fs::path& name) {
        const fs::path old = name.string() + "-old";
        std::error_code ignored;
        if (fs::exists(fs::symlink_status(old, ignored))) return errno = EEXIST, false;
        return std::rename(path.c_str(), old.c_str()) == 0;
    });
    std::error_code ignored;
    fs::remove_all(aside.string() + "-old", ignored);
}

}  // namespace ggq
