#include "ggq/io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "ggq/error.h"

namespace ggq {

namespace {

[[noreturn]] void fail_with_errno(const char* what, const std::filesystem::path& path) {
    fail("cannot {} {}: {}", what, path.string(), std::generic_category().message(errno));
}

struct Descriptor {
    int value;
    ~Descriptor() { close(value); }
};

}  // namespace

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)) {
    const int opened = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (opened < 0) fail_with_errno("open", path_);
    const Descriptor file{opened};

    struct stat status {};
    if (fstat(file.value, &status) != 0) fail_with_errno("read", path_);
    require(S_ISREG(status.st_mode), "{} is not a file", path_.string());
    if (status.st_size == 0) return;

    const auto n_bytes = static_cast<size_t>(status.st_size);
    void* start = mmap(nullptr, n_bytes, PROT_READ, MAP_PRIVATE, file.value, 0);
    if (start == MAP_FAILED) fail_with_errno("map", path_);
    bytes_ = {static_cast<const std::byte*>(start), n_bytes};
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

MappedFile::~MappedFile() {
    if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::drop(std::span<const std::byte> part) const noexcept {
    const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
    const auto end = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace ggq
