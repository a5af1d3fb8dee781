#include "ggq/io/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "ggq/error.h"

namespace ggq {

namespace {

namespace fs = std::filesystem;

constexpr size_t kMostAtOnce = size_t{1} << 30;  // Linux takes at most 2 GiB in one call
constexpr size_t kPiece = size_t{1} << 16;

[[noreturn]] void fail_with_errno(const char* what, const fs::path& path) {
    fail("cannot {} {}: {}", what, path.string(), std::generic_category().message(errno));
}

const char* kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

// Nothing if there is nothing; what cannot be told is refused.
std::optional<struct stat> status_of(const fs::path& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) == 0) return status;
    if (errno != ENOENT && errno != ENOTDIR) fail_with_errno("look at", path);
    struct stat link {};
    require(lstat(path.c_str(), &link) != 0, "{} is a link to a file that is not there; is the folder complete?",
            path.string());
    return std::nullopt;
}

bool is_cached_blob(const fs::path& file) {
    const fs::path folder = file.parent_path();
    return folder.filename() == "blobs" && folder.parent_path().filename().string().starts_with("models--");
}

// read() and pread() alike, again where a signal came between.
template <typename Call>
size_t read_some(const fs::path& path, const Call& call) {
    for (;;) {
        const ssize_t n = call();
        if (n >= 0) return static_cast<size_t>(n);
        if (errno != EINTR) fail_with_errno("read", path);
    }
}

}  // namespace

bool is_there(const fs::path& path) { return status_of(path).has_value(); }

bool is_folder(const fs::path& path) {
    const auto status = status_of(path);
    return status && S_ISDIR(status->st_mode);
}

void refuse_link_out(const fs::path& file) {
    std::error_code error;
    const fs::path target = fs::canonical(file, error);
    if (error) return;  // opening it says more
    const fs::path folder = fs::canonical(file.has_parent_path() ? file.parent_path() : ".", error);
    if (error) return;
    const auto [end, at] = std::mismatch(folder.begin(), folder.end(), target.begin(), target.end());
    require(end == folder.end() || is_cached_blob(target),
            "{} is a link out of its folder, to {}; put the file itself there", file.string(), target.string());
}

namespace {

// A pipe by a name of its own has nobody at its other end yet, perhaps never.
bool is_held_already(const fs::path& path) {
    const std::string& name = path.native();
    return name == "/dev/stdin" || name.starts_with("/dev/fd/") || name.starts_with("/proc/self/fd/");
}

}  // namespace

InputFile::InputFile(fs::path path, Takes takes) : path_(std::move(path)) {
    struct stat status {};
    const bool pipe = takes == Takes::pipes_too && is_held_already(path_) && stat(path_.c_str(), &status) == 0 &&
                      S_ISFIFO(status.st_mode);
    descriptor_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | (pipe ? 0 : O_NONBLOCK));
    if (descriptor_ < 0) fail_with_errno("open", path_);
    const bool known = fstat(descriptor_, &status) == 0;
    const bool taken = known && (S_ISREG(status.st_mode) || (pipe && S_ISFIFO(status.st_mode)));
    if (!taken) close(std::exchange(descriptor_, -1));
    if (!known) fail_with_errno("read", path_);
    require(taken, "{}: expected a file, got {}", path_.string(), kind_of(status.st_mode));
    n_bytes_ = pipe ? 0 : static_cast<uint64_t>(status.st_size);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), n_bytes_(other.n_bytes_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(n_bytes_, other.n_bytes_);
    return *this;
}

InputFile::~InputFile() {
    if (descriptor_ >= 0) close(descriptor_);
}

void InputFile::read(uint64_t offset, std::span<std::byte> to) const {
    while (!to.empty()) {
        const size_t n = read_some(path_, [&] {
            return pread(descriptor_, to.data(), std::min(to.size(), kMostAtOnce), static_cast<off_t>(offset));
        });
        require(n > 0, "{}: the file ends at byte {} now, it had {} when it was opened; another program cut it",
                path_.string(), offset, n_bytes_);
        offset += n;
        to = to.subspan(n);
    }
}

size_t InputFile::read_next(std::span<std::byte> to) const {
    return read_some(path_, [&] { return ::read(descriptor_, to.data(), std::min(to.size(), kMostAtOnce)); });
}

std::string InputFile::read_all() const {
    std::string text;
    size_t size = 0;
    // One byte more than there should be, so that the end is seen in one go.
    for (size_t room = n_bytes_ + 1;; room = std::max(size / 2, kPiece)) {
        text.resize(size + room);
        while (size < text.size()) {
            const size_t n = read_some(path_, [&] {
                return ::read(descriptor_, text.data() + size, std::min(text.size() - size, kMostAtOnce));
            });
            if (n == 0) return text.resize(size), text;
            size += n;
        }
    }
}

}  // namespace ggq
