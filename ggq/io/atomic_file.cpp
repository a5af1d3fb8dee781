#include "ggq/io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <utility>

#include "ggq/io/input_file.h"
#include "ggq/io/write_aside.h"

namespace ggq {

namespace fs = std::filesystem;

AtomicFile::AtomicFile(fs::path path)
    : path_(std::move(path)), aside_(make_aside(path_, [this](const fs::path& aside) {
          descriptor_ = open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
          return descriptor_ >= 0;
      })) {}

AtomicFile::~AtomicFile() {
    if (descriptor_ < 0) return;
    close(descriptor_);
    unlink(aside_.c_str());
}

namespace {

// `write_some` writes bytes from a place on and says how many, as write() does.
void write_all(const fs::path& path, const void* data, int64_t n_bytes,
               const std::function<ssize_t(const char* from, int64_t done, size_t n)>& write_some) {
    const char* bytes = static_cast<const char*>(data);
    for (int64_t done = 0; done < n_bytes;) {
        constexpr int64_t kMostAtOnce = int64_t{1} << 30;  // Linux takes at most 2 GiB in one call
        const ssize_t n = write_some(bytes + done, done, static_cast<size_t>(std::min(n_bytes - done, kMostAtOnce)));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail_writing(path);
        done += n;
    }
}

}  // namespace

void AtomicFile::write(const void* data, int64_t n_bytes) {
    write_all(path_, data, n_bytes, [&](const char* from, int64_t, size_t n) { return ::write(descriptor_, from, n); });
}

void AtomicFile::write_at(int64_t offset, const void* data, int64_t n_bytes) {
    write_all(path_, data, n_bytes,
              [&](const char* from, int64_t done, size_t n) { return pwrite(descriptor_, from, n, offset + done); });
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

}  // namespace ggq
