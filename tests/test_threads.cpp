// The pool runs every task of every job exactly once, whatever threads sleep, wake late or come from elsewhere.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "kernels/cpu/threads.h"

namespace ggq::test {

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
