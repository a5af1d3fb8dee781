// What of the host's memory can be had: the machine's, and what limits on this process's control groups leave of it.
#include "ggq/host_memory.h"

#include <doctest/doctest.h>

#include "tests/temp_dir.h"
#include "tests/training.h"

namespace ggq::test {

namespace {

constexpr int64_t kMiB = 1 << 20;

// /proc and /sys of a machine with 1000 MiB available.
class Machine {
public:
    Machine() { write("proc/meminfo", "MemTotal: 2048000 kB\nMemFree: 100 kB\nMemAvailable: 1024000 kB\n"); }

    void write(const std::string& file, const std::string& text) const { write_text(root_ / file, text); }
    void group(const std::string& folder, const std::string& most, int64_t used) const {
        write(folder + "/memory.max", most + "\n");
        write(folder + "/memory.current", std::to_string(used) + "\n");
    }
    int64_t available_mib() const { return available_host_bytes(root_.path()) / kMiB; }

private:
    TempDir root_;
};

std::string mib(int64_t n) { return std::to_string(n * kMiB); }

}  // namespace

TEST_CASE("host memory: the machine's own where nothing limits it") {
    const Machine machine;
    CHECK(machine.available_mib() == 1000);
    machine.write("proc/self/cgroup", "0::/user.slice/session\n");
    machine.group("sys/fs/cgroup/user.slice/session", "max", 50 * kMiB);
    CHECK(machine.available_mib() == 1000);
    CHECK(available_host_bytes() > 0);
}

TEST_CASE("host memory: a container's limit, less what is used and is no page of a file") {
    const Machine machine;
    machine.write("proc/self/cgroup", "0::/\n");
    machine.group("sys/fs/cgroup", mib(600), 300 * kMiB);
    CHECK(machine.available_mib() == 300);
    machine.write("sys/fs/cgroup/memory.stat", "anon 9\ninactive_file " + mib(150) + "\nactive_file " + mib(50) + "\n");
    CHECK(machine.available_mib() == 500);
    machine.group("sys/fs/cgroup", mib(600), 900 * kMiB);
    CHECK(machine.available_mib() == 0);
}

TEST_CASE("host memory: the tightest limit of a group and those around it") {
    const Machine machine;
    machine.write("proc/self/cgroup", "0::/user.slice/job/step\n");
    machine.group("sys/fs/cgroup/user.slice", mib(900), 0);
    machine.group("sys/fs/cgroup/user.slice/job", mib(400), 100 * kMiB);
    machine.group("sys/fs/cgroup/user.slice/job/step", mib(800), 100 * kMiB);
    CHECK(machine.available_mib() == 300);
    machine.group("sys/fs/cgroup/other.slice", mib(1), 0);
    CHECK(machine.available_mib() == 300);
}

TEST_CASE("host memory: version 1 of control groups, whose path may be that of the machine outside") {
    for (const char* folder : {"sys/fs/cgroup/memory", "sys/fs/cgroup/memory/docker/abc"}) {
        const Machine machine;
        machine.write("proc/self/cgroup", "7:cpu,cpuacct:/docker/abc\n5:hugetlb,memory:/docker/abc\n0::/\n");
        machine.write(std::string(folder) + "/memory.limit_in_bytes", mib(700));
        machine.write(std::string(folder) + "/memory.usage_in_bytes", mib(500));
        machine.write(std::string(folder) + "/memory.stat", "inactive_file 1\ntotal_inactive_file " + mib(100) + "\n");
        CHECK(machine.available_mib() == 300);
        machine.write(std::string(folder) + "/memory.limit_in_bytes", "9223372036854771712");
        CHECK(machine.available_mib() == 1000);
    }
}

}  // namespace ggq::test
