#include "ggq/host_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace ggq {

namespace {

namespace fs = std::filesystem;

int64_t machine_bytes(const fs::path& root) {
    std::ifstream meminfo(root / "proc/meminfo");
    for (std::string line; std::getline(meminfo, line);)
        if (line.starts_with("MemAvailable:")) return std::stoll(line.substr(13)) * 1024;
    return static_cast<int64_t>(sysconf(_SC_AVPHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

// The two versions of control groups: where their memory controller is mounted and how it names its files. Keys of
// memory.stat are of the group with all groups in it.
struct CgroupVersion {
    const char* mount;
    const char* limit;
    const char* used;
    const char* inactive_file;
    const char* active_file;
};

constexpr CgroupVersion kVersion1 = {"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                     "total_inactive_file", "total_active_file"};
constexpr CgroupVersion kVersion2 = {"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file", "active_file"};

// What is left of a group's limit, or a very large number; no limit is "max", or a number that no machine has.
int64_t left_in(const fs::path& group, const CgroupVersion& version) {
    int64_t limit = 0, used = 0, bytes = 0;
    if (!(std::ifstream(group / version.limit) >> limit)) return INT64_MAX;
    std::ifstream(group / version.used) >> used;
    std::ifstream stat(group / "memory.stat");
    for (std::string key; stat >> key >> bytes;)
        if (key == version.inactive_file || key == version.active_file) used -= bytes;
    return std::max<int64_t>(0, limit - std::max<int64_t>(0, used));
}

// A limit holds for all groups below. In a container the mount is the container's own group, and the path, which is
// the machine's, need not be there.
int64_t left_from(const fs::path& mount, fs::path group, const CgroupVersion& version) {
    int64_t left = left_in(mount, version);
    for (group = group.relative_path(); !group.empty(); group = group.parent_path())
        left = std::min(left, left_in(mount / group, version));
    return left;
}

// By a line "number:controllers:path" of those that name this process's groups; version 2 names no controller.
int64_t left_by(const std::string& line, const fs::path& root) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) return INT64_MAX;
    const std::string controllers = ',' + line.substr(first + 1, second - first - 1) + ',',
                      path = line.substr(second + 1);
    if (controllers == ",,") return left_from(root / kVersion2.mount, path, kVersion2);
    if (controllers.find(",memory,") == std::string::npos) return INT64_MAX;
    return left_from(root / kVersion1.mount, path, kVersion1);
}

int64_t cgroup_bytes(const fs::path& root) {
    int64_t left = std::min(left_in(root / kVersion1.mount, kVersion1), left_in(root / kVersion2.mount, kVersion2));
    std::ifstream groups(root / "proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) left = std::min(left, left_by(line, root));
    return left;
}

}  // namespace

int64_t available_host_bytes(const fs::path& root) { return std::min(machine_bytes(root), cgroup_bytes(root)); }

}  // namespace ggq
