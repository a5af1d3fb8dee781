// What AtomicFile and AtomicFolder share: names aside, and the calls whose failure is one sentence that names the path.
//
//   a.tmp-123, a.tmp-123-1, ...   being written for `a` by process 123
//   a.tmp-123-old                 taken away from `a`, and being removed
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>
#include <system_error>

namespace ggq {

[[noreturn]] void fail_writing(const std::filesystem::path& path, const std::error_code& reason);
[[noreturn]] void fail_writing(const std::filesystem::path& path);  // for the reason in errno

// Makes something of a new name beside `path`. `make` returns false with EEXIST where the name is taken: process
// numbers come again, and containers that share a folder have the same ones.
std::filesystem::path make_aside(const std::filesystem::path& path,
                                 const std::function<bool(const std::filesystem::path&)>& make);

enum class AsideName { none, written, removed };

// Is `name` one that make_aside() gives for a file or folder called `of`, or that is on its way out?
AsideName aside_name(std::string_view name, std::string_view of);

void rename_or_fail(const std::filesystem::path& from, const std::filesystem::path& to);

// For a folder this makes the names in it durable. Some file systems cannot sync a folder and say EINVAL.
void sync_path(const std::filesystem::path& path);
void sync_parent(const std::filesystem::path& path);

void make_folders(const std::filesystem::path& path);  // with those around it; one that is there is fine

}  // namespace ggq
