#include "ggq/io/output_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "ggq/error.h"
#include "ggq/io/write_aside.h"

namespace ggq {

namespace fs = std::filesystem;

namespace {

constexpr int kMostTries = 100;  // to lock a folder that others remove

[[noreturn]] void fail_reading(const fs::path& folder) {
    fail("cannot read the folder {}: {}", folder.string(), std::generic_category().message(errno));
}

void require_folder_or_nothing(const fs::path& path) {
    std::error_code error;
    require(!fs::exists(path, error) || fs::is_directory(path, error),
            "the output folder {} is a file; choose another name", path.string());
}

void require_empty(const fs::path& path) {
    std::error_code error;
    const fs::directory_iterator content(path, error);
    if (error) fail("cannot read the folder {}: {}", path.string(), error.message());
    require(content == fs::directory_iterator(),
            "the output folder {} is not empty; choose another one or allow it with `overwrite`", path.string());
}

}  // namespace

OutputFolder::OutputFolder(const fs::path& path, bool overwrite) {
    require_folder_or_nothing(path);
    std::error_code error;
    for (fs::path missing = path; !missing.empty() && !fs::exists(missing, error); missing = missing.parent_path())
        made_.folders.push_back(missing);
    Lock::Outcome outcome = Lock::Outcome::gone;
    for (int left = kMostTries; outcome == Lock::Outcome::gone; --left) {
        require(left > 0, "the folder {} is removed again and again; choose another one", path.string());
        make_folders(path);
        outcome = lock_.take(path);
    }
    if (outcome == Lock::Outcome::busy) {
        made_.folders.clear();  // they are the other run's
        fail("another run is writing into the folder {}; wait for its end or choose another one", path.string());
    }
    if (!overwrite) require_empty(path);
    if (access(path.c_str(), W_OK) != 0) fail_writing(path);
}

OutputFolder::Lock::Outcome OutputFolder::Lock::take(const fs::path& folder) {
    release();
    descriptor_ = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor_ < 0 && errno == ENOENT) return Outcome::gone;
    if (descriptor_ < 0) fail_reading(folder);
    // Any other failure is a file system that has no locks.
    if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return Outcome::busy;
    struct stat locked {};
    struct stat named {};
    if (fstat(descriptor_, &locked) != 0) fail_reading(folder);
    if (stat(folder.c_str(), &named) != 0) {
        if (errno == ENOENT) return Outcome::gone;
        fail_reading(folder);
    }
    const bool same = locked.st_ino == named.st_ino && locked.st_dev == named.st_dev;
    return same ? Outcome::taken : Outcome::gone;
}

void OutputFolder::Lock::release() {
    if (descriptor_ >= 0) close(std::exchange(descriptor_, -1));
}

OutputFolder::Lock::~Lock() { release(); }

OutputFolder::Made::~Made() {
    std::error_code ignored;  // one that is not empty cannot be removed, nor can those around it
    for (const fs::path& folder : folders) fs::remove(folder, ignored);
}

}  // namespace ggq
