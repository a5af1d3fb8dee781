#include "ggq/io/scratch_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "ggq/error.h"

namespace ggq {

namespace {

std::string reason() { return std::generic_category().message(errno); }

// Not every file system knows files without a name.
int open_nameless(const std::filesystem::path& folder) {
    const int descriptor = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (descriptor >= 0) return descriptor;
    std::string name = (folder / "ggq-XXXXXX").string();
    const int named = mkostemp(name.data(), O_CLOEXEC);
    if (named >= 0) unlink(name.c_str());
    return named;
}

}  // namespace

ScratchFile::ScratchFile() {
    std::error_code error;
    folder_ = std::filesystem::temp_directory_path(error);
    if (error) folder_ = "/tmp";
    descriptor_ = open_nameless(folder_);
    require(descriptor_ >= 0, "cannot make a temporary file in {}: {}; name another folder in TMPDIR", folder_.string(),
            reason());
}

ScratchFile::~ScratchFile() { close(descriptor_); }

void ScratchFile::append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t n = pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(n_bytes_));
        if (n < 0 && errno == EINTR) continue;
        require(n > 0, "cannot write to a temporary file in {} ({} bytes so far): {}; name another folder in TMPDIR",
                folder_.string(), n_bytes_, reason());
        n_bytes_ += static_cast<uint64_t>(n);
        bytes = bytes.subspan(static_cast<size_t>(n));
    }
}

void ScratchFile::read(uint64_t offset, std::span<std::byte> to) const {
    GGQ_ASSERT(offset + to.size() <= n_bytes_);
    while (!to.empty()) {
        const ssize_t n = pread(descriptor_, to.data(), to.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        require(n > 0, "cannot read a temporary file in {}: {}", folder_.string(), n == 0 ? "it was cut" : reason());
        offset += static_cast<uint64_t>(n);
        to = to.subspan(static_cast<size_t>(n));
    }
}

}  // namespace ggq
