// The pool runs every task of every job exactly once, whatever threads sleep, wake late or come from elsewhere.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "kernels/check.h"
#include "kernels/cpu/threads.h"

namespace ggq::test {

namespace {

// Makes a pool of more threads than a limit on the address space leaves room for; 0 if it is refused in one sentence.
int start_too_many() {
    int64_t n_pages = 0;
    std::ifstream("/proc/self/statm") >> n_pages;
    const rlim_t room = static_cast<rlim_t>(n_pages * sysconf(_SC_PAGESIZE)) + (rlim_t{40} << 20);
    const rlimit limit{room, room};
    setrlimit(RLIMIT_AS, &limit);
    try {
        const ThreadPool pool(1000);
    } catch (const Error& error) {
        return std::string(error.what()).starts_with("threads: expected to start 1000, got ") ? 0 : 2;
    }
    return 1;
}

}  // namespace

TEST_CASE("threads: every task of many jobs runs once, with its own number") {
    for (const int n_threads : {1, 2, 3, 8}) {
        CAPTURE(n_threads);
        ThreadPool pool(n_threads);
        int64_t wrong = 0;
        for (int64_t job = 0; job < 3000; ++job) {
            const int64_t n_tasks = job % 7 * (job % 3);
            std::vector<int64_t> seen(static_cast<size_t>(n_tasks), -1);
            std::atomic<int64_t> runs{0};
            pool.run(n_tasks, [&](int64_t task, int worker) {
                seen[static_cast<size_t>(task)] = job + task;
                runs += worker >= 0 && worker < n_threads;
            });
            wrong += runs != n_tasks;
            for (int64_t task = 0; task < n_tasks; ++task) wrong += seen[static_cast<size_t>(task)] != job + task;
        }
        CHECK(wrong == 0);
    }
}

#ifndef __SANITIZE_ADDRESS__  // which needs the address space itself
TEST_CASE("threads: more than the system starts are refused, and those that were started end") {
    const pid_t child = fork();
    if (child == 0) _exit(start_too_many());
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}
#endif

TEST_CASE("threads: workers that fell asleep take part again") {
    ThreadPool pool(2);
    for (int job = 0; job < 3; ++job) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        std::atomic<int> both{0};
        // Each task waits for the other one, so that one thread alone could not end the job.
        pool.run(2, [&](int64_t, int) {
            ++both;
            while (both < 2) std::this_thread::yield();
        });
        CHECK(both == 2);
    }
}

TEST_CASE("threads: ranges are covered without gaps") {
    ThreadPool pool(3);
    for (const int64_t n : {0, 1, 7, 100}) {
        std::vector<int> hits(static_cast<size_t>(n), 0);
        pool.for_range(n, 8, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        });
        CHECK(hits == std::vector<int>(static_cast<size_t>(n), 1));
    }
}

}  // namespace ggq::test
