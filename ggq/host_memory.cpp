#include "ggq/host_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace ggq {

namespace {

int64_t machine_bytes() {
    std::ifstream meminfo("/proc/meminfo");
    for (std::string line; std::getline(meminfo, line);)
        if (line.starts_with("MemAvailable:")) return std::stoll(line.substr(13)) * 1024;
    return static_cast<int64_t>(sysconf(_SC_AVPHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

// What is left of a container's limit, or a very large number.
int64_t cgroup_bytes() {
    int64_t limit = 0, used = 0, bytes = 0;
    if (!(std::ifstream("/sys/fs/cgroup/memory.max") >> limit)) return INT64_MAX;
    std::ifstream("/sys/fs/cgroup/memory.current") >> used;
    std::ifstream stat("/sys/fs/cgroup/memory.stat");
    for (std::string key; stat >> key >> bytes;)
        if (key == "inactive_file" || key == "active_file") used -= bytes;
    return std::max<int64_t>(0, limit - std::max<int64_t>(0, used));
}

}  // namespace

int64_t available_host_bytes() { return std::min(machine_bytes(), cgroup_bytes()); }

}  // namespace ggq
