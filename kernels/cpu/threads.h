// A fixed pool of threads that runs numbered tasks. Work is split by size, never by the number of threads, so results
// do not depend on it; which thread takes which task does not matter, since tasks write disjoint outputs.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/rounding.h"

namespace ggq {

class ThreadPool {
public:
    explicit ThreadPool(int n_threads);  // the caller's thread counts as one
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const { return n_threads_; }

    // Calls f(task, worker) for every task in [0, n_tasks), worker in [0, size()); returns when all are done.
    // f must not throw.
    template <typename F>
    void run(int64_t n_tasks, const F& f) {
        if (n_tasks <= 1 || n_threads_ == 1) {
            for (int64_t task = 0; task < n_tasks; ++task) f(task, 0);
            return;
        }
        run_tasks(
            n_tasks, [](const void* fn, int64_t task, int worker) { (*static_cast<const F*>(fn))(task, worker); }, &f);
    }

    // Splits [0, n) into chunks of `grain` and calls f(begin, end).
    template <typename F>
    void for_range(int64_t n, int64_t grain, const F& f) {
        run(ceil_div(n, grain), [&](int64_t task, int) {
            const int64_t begin = task * grain;
            f(begin, begin + grain < n ? begin + grain : n);
        });
    }

private:
    using Task = void (*)(const void* fn, int64_t task, int worker);
    void run_tasks(int64_t n_tasks, Task task, const void* fn);

    struct State;
    int n_threads_;
    std::unique_ptr<State> state_;
};

}  // namespace ggq
