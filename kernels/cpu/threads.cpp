#include "kernels/cpu/threads.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace ggq {

namespace {
// Steps follow each other within microseconds, and waking a sleeping thread costs tens of them.
constexpr int kSpins = 20000;

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}
}  // namespace

struct ThreadPool::State {
    std::vector<std::thread> threads;
    std::mutex mutex;
    std::condition_variable wake;
    std::atomic<uint64_t> generation{0};
    std::atomic<int> running{0};
    std::atomic<int64_t> next{0};
    std::atomic<bool> stopping{false};
    int64_t n_tasks = 0;
    Task task = nullptr;
    const void* fn = nullptr;

    void work(int worker) {
        for (int64_t i = next.fetch_add(1); i < n_tasks; i = next.fetch_add(1)) task(fn, i, worker);
    }

    void wait_for_work(uint64_t seen) {
        for (int i = 0; i < kSpins; ++i) {
            if (generation.load(std::memory_order_acquire) != seen) return;
            relax();
        }
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return generation.load() != seen; });
    }

    void loop(int worker) {
        for (uint64_t seen = 0; true;) {
            wait_for_work(seen);
            ++seen;
            if (stopping) return;
            work(worker);
            running.fetch_sub(1, std::memory_order_release);
        }
    }

    void start_generation() {
        {
            std::lock_guard lock(mutex);
            generation.fetch_add(1, std::memory_order_release);
        }
        wake.notify_all();
    }
};

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads < 1 ? 1 : n_threads), state_(std::make_unique<State>()) {
    for (int worker = 1; worker < n_threads_; ++worker)
        state_->threads.emplace_back([this, worker] { state_->loop(worker); });
}

ThreadPool::~ThreadPool() {
    state_->stopping = true;
    state_->start_generation();
    for (std::thread& t : state_->threads) t.join();
}

void ThreadPool::run_tasks(int64_t n_tasks, Task task, const void* fn) {
    State& s = *state_;
    s.n_tasks = n_tasks;
    s.task = task;
    s.fn = fn;
    s.next = 0;
    s.running = n_threads_ - 1;
    s.start_generation();
    s.work(0);
    // Where other programs want the cores too, the last worker may need ours to finish.
    for (int spins = 0; s.running.load(std::memory_order_acquire) != 0; ++spins)
        if (spins < kSpins) relax();
        else std::this_thread::yield();
}

}  // namespace ggq
