#include "ggq/io/disk_space.h"

#include "ggq/error.h"

namespace ggq {

namespace fs = std::filesystem;

void require_disk_space(const fs::path& path, int64_t n_bytes) {
    std::error_code error;
    fs::path there = fs::absolute(path, error);
    while (!fs::exists(there, error) && there.has_relative_path()) there = there.parent_path();
    const fs::space_info space = fs::space(there, error);
    if (error) return;  // some file systems cannot say
    require(space.available >= static_cast<uint64_t>(n_bytes),
            "{}: expected {:.2f} GiB free on the disk, got {:.2f}; make room or choose a folder on another one",
            path.string(), static_cast<double>(n_bytes) / (1ll << 30),
            static_cast<double>(space.available) / (1ll << 30));
}

}  // namespace ggq
