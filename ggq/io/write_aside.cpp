#include "ggq/io/write_aside.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>

#include "ggq/error.h"

namespace ggq {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kMark = ".tmp-";
constexpr std::string_view kRemoved = "-old";

bool is_number(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

void fail_writing(const fs::path& path, const std::error_code& reason) {
    const bool full = reason == std::errc::no_space_on_device;
    fail("cannot write {}: {}{}", path.string(), reason.message(),
         full ? "; free some space or choose another folder" : "");
}

void fail_writing(const fs::path& path) { fail_writing(path, std::error_code(errno, std::generic_category())); }

fs::path make_aside(const fs::path& path, const std::function<bool(const fs::path&)>& make) {
    const std::string stem = path.string() + std::string(kMark) + std::to_string(getpid());
    for (int n = 0;; ++n) {
        fs::path aside = n == 0 ? stem : stem + "-" + std::to_string(n);
        if (make(aside)) return aside;
        if (errno != EEXIST) fail_writing(path);
    }
}

AsideName aside_name(std::string_view name, std::string_view of) {
    if (!name.starts_with(of) || !name.substr(of.size()).starts_with(kMark)) return AsideName::none;
    name.remove_prefix(of.size() + kMark.size());
    const bool removed = name.ends_with(kRemoved);
    if (removed) name.remove_suffix(kRemoved.size());
    const size_t dash = std::min(name.find('-'), name.size());
    const bool ok = is_number(name.substr(0, dash)) && (dash == name.size() || is_number(name.substr(dash + 1)));
    if (!ok) return AsideName::none;
    return removed ? AsideName::removed : AsideName::written;
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
    if (std::rename(from.c_str(), to.c_str()) != 0) fail_writing(to);
}

void sync_path(const fs::path& path) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) fail_writing(path);
    const bool ok = fsync(descriptor) == 0 || errno == EINVAL;
    const int reason = errno;
    close(descriptor);
    if (!ok) fail_writing(path, std::error_code(reason, std::generic_category()));
}

void sync_parent(const fs::path& path) { sync_path(path.has_parent_path() ? path.parent_path() : "."); }

void make_folders(const fs::path& path) {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) fail("cannot make the folder {}: {}", path.string(), error.message());
}

}  // namespace ggq
