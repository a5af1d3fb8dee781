// A library to preload: counts the calls that change files in a folder, and fails at one of them.
//
//   GGQ_FAULT_DIR    the folder; only what happens in it or to it counts
//   GGQ_FAULT_AT     the number of the call, from 1
//   GGQ_FAULT        kill (before the call), half (kill after half of a write), or the number of an errno
//   GGQ_FAULT_COUNT  a file that gets the number of calls at the end of the process
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

const char* setting(const char* name) {
    const char* value = getenv(name);
    return value ? value : "";
}

long n_calls = 0;

struct Counter {
    ~Counter() {
        const int file = static_cast<int>(
            syscall(SYS_openat, AT_FDCWD, setting("GGQ_FAULT_COUNT"), O_WRONLY | O_CREAT | O_TRUNC, 0666));
        char text[32];
        if (file >= 0) syscall(SYS_write, file, text, snprintf(text, sizeof text, "%ld", n_calls));
    }
} counter;

bool starts(const char* path) {
    const char* folder = setting("GGQ_FAULT_DIR");
    return *folder && std::strncmp(path, folder, std::strlen(folder)) == 0;
}

bool counts_file(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return false;
    path[n] = 0;
    return starts(path);
}

bool counts(int folder, const char* path) {
    return *path == '/' || folder == AT_FDCWD ? starts(path) : counts_file(folder);
}

// True if the call is to fail, with errno set; with `half` true it is to do half of its work.
bool hit(bool* half = nullptr) {
    if (++n_calls != std::atol(setting("GGQ_FAULT_AT"))) return false;
    const char* fault = setting("GGQ_FAULT");
    if (half && std::strcmp(fault, "half") == 0) return *half = true, false;
    if (std::strcmp(fault, "kill") == 0 || std::strcmp(fault, "half") == 0) kill(getpid(), SIGKILL);
    errno = std::atoi(fault);
    return errno != 0;
}

template <typename F>
F real(F, const char* name) {
    return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

int open_with(int folder, const char* path, int flags, mode_t mode) {
    const bool changes = (flags & (O_CREAT | O_WRONLY | O_RDWR)) != 0;
    if (changes && counts(folder, path) && hit()) return -1;
    return static_cast<int>(syscall(SYS_openat, folder, path, flags, mode));
}

}  // namespace

#define GGQ_CALL(name, counted, ...)   \
    if ((counted) && hit()) return -1; \
    return real(&::name, #name)(__VA_ARGS__)

extern "C" {

ssize_t write(int file, const void* data, size_t n_bytes) {
    bool half = false;
    if (file > STDERR_FILENO && counts_file(file) && hit(&half)) return -1;
    const ssize_t written = real(&::write, "write")(file, data, half ? n_bytes / 2 : n_bytes);
    if (half) kill(getpid(), SIGKILL);
    return written;
}

ssize_t writev(int file, const iovec* parts, int n_parts) {
    GGQ_CALL(writev, file > STDERR_FILENO && counts_file(file), file, parts, n_parts);
}
int fsync(int file) { GGQ_CALL(fsync, counts_file(file), file); }
int rename(const char* from, const char* to) noexcept { GGQ_CALL(rename, counts(AT_FDCWD, to), from, to); }
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
    if (getenv("GGQ_FAULT_NO_EXCHANGE")) return errno = EINVAL, -1;
    GGQ_CALL(renameat2, counts(to_folder, to), from_folder, from, to_folder, to, flags);
}
int unlink(const char* path) noexcept { GGQ_CALL(unlink, counts(AT_FDCWD, path), path); }
int unlinkat(int folder, const char* path, int flags) noexcept {
    GGQ_CALL(unlinkat, counts(folder, path), folder, path, flags);
}
int rmdir(const char* path) noexcept { GGQ_CALL(rmdir, counts(AT_FDCWD, path), path); }
int remove(const char* path) noexcept { GGQ_CALL(remove, counts(AT_FDCWD, path), path); }
int mkdir(const char* path, mode_t mode) noexcept { GGQ_CALL(mkdir, counts(AT_FDCWD, path), path, mode); }

int open(const char* path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open_with(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open_with(AT_FDCWD, path, flags, mode);
}
FILE* fopen(const char* path, const char* mode) {
    if (*mode != 'r' && counts(AT_FDCWD, path) && hit()) return nullptr;
    return real(&::fopen, "fopen")(path, mode);
}
FILE* fopen64(const char* path, const char* mode) { return fopen(path, mode); }

}  // extern "C"
