#include "ggq/io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/input_file.h"

namespace ggq {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail_writing(const fs::path& path, const std::error_code& reason) {
    const bool full = reason == std::errc::no_space_on_device;
    fail("cannot write {}: {}{}", path.string(), reason.message(),
         full ? "; free some space or choose another folder, nothing was saved" : "");
}

[[noreturn]] void fail_writing(const fs::path& path) {
    fail_writing(path, std::error_code(errno, std::generic_category()));
}

fs::path aside_of(const fs::path& path) {
    // "out/" and "out" are the same folder.
    const fs::path clean = path.has_filename() ? path : path.parent_path();
    return clean.string() + ".tmp-" + std::to_string(getpid());
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
    if (std::rename(from.c_str(), to.c_str()) != 0) fail_writing(to);
}

// For a folder this makes the names in it durable. Some file systems cannot sync a folder and say EINVAL.
void sync_path(const fs::path& path) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) fail_writing(path);
    const bool ok = fsync(descriptor) == 0 || errno == EINVAL;
    const int reason = errno;
    close(descriptor);
    if (!ok) fail_writing(path, std::error_code(reason, std::generic_category()));
}

void sync_parent(const fs::path& path) { sync_path(path.has_parent_path() ? path.parent_path() : "."); }

void make_folder(const fs::path& path) {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) fail("cannot make the folder {}: {}", path.string(), error.message());
}

void swap_in(const fs::path& aside, const fs::path& path) {
#ifdef RENAME_EXCHANGE
    const bool swapped = renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0;
#else
    const bool swapped = false;
#endif
    if (swapped) {
        std::error_code ignored;
        fs::remove_all(aside, ignored);
        return;
    }
    // Without an exchange in one call there is a moment in which the old folder stands under the name of `old`.
    const fs::path old = aside.string() + "-old";
    rename_or_fail(path, old);
    rename_or_fail(aside, path);
    std::error_code ignored;
    fs::remove_all(old, ignored);
}

void move_files(const fs::path& from, const fs::path& to) {
    for (const auto& entry : fs::directory_iterator(from)) rename_or_fail(entry, to / entry.path().filename());
    fs::remove(from);
    sync_path(to);
}

}  // namespace

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)), aside_(aside_of(path_)) {
    descriptor_ = open(aside_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail_writing(path_);
}

AtomicFile::~AtomicFile() {
    if (descriptor_ < 0) return;
    close(descriptor_);
    unlink(aside_.c_str());
}

void AtomicFile::write(const void* data, int64_t n_bytes) {
    const char* next = static_cast<const char*>(data);
    while (n_bytes > 0) {
        constexpr int64_t kMostAtOnce = int64_t{1} << 30;  // Linux takes at most 2 GiB in one call
        const ssize_t written = ::write(descriptor_, next, static_cast<size_t>(std::min(n_bytes, kMostAtOnce)));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail_writing(path_);
        next += written;
        n_bytes -= written;
    }
}

void AtomicFile::write(std::string_view text) { write(text.data(), static_cast<int64_t>(text.size())); }

void AtomicFile::commit() {
    if (fsync(descriptor_) != 0) fail_writing(path_);
    rename_or_fail(aside_, path_);
    close(std::exchange(descriptor_, -1));
    sync_parent(path_);
}

void write_file(const fs::path& path, std::string_view content) {
    AtomicFile file(path);
    file.write(content);
    file.commit();
}

void copy_if_there(const fs::path& from, const fs::path& to) {
    if (!is_there(from)) return;
    refuse_link_out(from);
    write_file(to, InputFile(from).read_all());
}

AtomicFolder::AtomicFolder(fs::path path, IfFolderExists policy) : path_(std::move(path)), policy_(policy) {
    if (!path_.has_filename()) path_ = path_.parent_path();
    // Merged content is staged inside the folder: its parent may be another file system, or not writable.
    if (policy_ == IfFolderExists::merge) make_folder(path_);
    aside_ = aside_of(policy_ == IfFolderExists::merge ? path_ / ".new" : path_);
    make_folder(aside_);
}

AtomicFolder::~AtomicFolder() {
    std::error_code ignored;
    if (!aside_.empty()) fs::remove_all(aside_, ignored);
}

void AtomicFolder::commit() {
    try {
        for (const auto& entry : fs::recursive_directory_iterator(aside_)) sync_path(entry.path());
        sync_path(aside_);
        if (policy_ == IfFolderExists::merge) {
            move_files(aside_, path_);
        } else {
            fs::exists(path_) ? swap_in(aside_, path_) : rename_or_fail(aside_, path_);
        }
    } catch (const fs::filesystem_error& error) {
        fail_writing(path_, error.code());
    }
    aside_.clear();
    sync_parent(path_);
}

void check_output_folder(const fs::path& path, bool overwrite) {
    std::error_code error;
    if (!fs::exists(path, error)) return;
    require(fs::is_directory(path, error), "the output folder {} is a file; choose another name", path.string());
    const fs::directory_iterator content(path, error);
    if (error) fail("cannot read the folder {}: {}", path.string(), error.message());
    require(overwrite || content == fs::directory_iterator(),
            "the output folder {} is not empty; choose another one or allow it with --overwrite", path.string());
}

OutputFolder::OutputFolder(const fs::path& path) {
    std::error_code error;
    for (fs::path missing = path; !missing.empty() && !fs::exists(missing, error); missing = missing.parent_path())
        made_.folders.push_back(missing);
    make_folder(path);
    if (access(path.c_str(), W_OK) != 0) fail_writing(path);
}

OutputFolder::Made::~Made() {
    std::error_code ignored;  // one that is not empty cannot be removed, nor can those around it
    for (const fs::path& folder : folders) fs::remove(folder, ignored);
}

}  // namespace ggq
