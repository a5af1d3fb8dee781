#include "kernels/cpu/threads.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernels/check.h"

namespace ggq {

namespace {
// Steps follow each other within microseconds, and waking a sleeping thread costs tens of them.
constexpr int kSpins = 20000;

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// The number of the job in the upper half, its tasks that nobody has taken yet in the lower: one word, so that a thread
// that slept through a job cannot take a task of the next one by mistake, and nobody waits for it.
using Ticket = uint64_t;

constexpr Ticket ticket(uint64_t job, uint64_t n_left) { return job << 32 | n_left; }
constexpr uint64_t job_of(Ticket t) { return t >> 32; }
constexpr uint64_t left_of(Ticket t) { return t & 0xffffffffu; }
}  // namespace

struct ThreadPool::State {
    std::vector<std::thread> threads;
    std::mutex mutex;
    std::condition_variable wake;
    std::atomic<Ticket> tickets{0};
    std::atomic<int64_t> unfinished{0};
    std::atomic<bool> stopping{false};
    // Of the job; they change only while it has no unfinished task.
    std::atomic<int64_t> n_tasks{0};
    std::atomic<Task> task{nullptr};
    std::atomic<const void*> fn{nullptr};

    void work(int worker) {
        Ticket seen = tickets.load(std::memory_order_acquire);
        while (left_of(seen) != 0) {
            const Task run = task.load(std::memory_order_relaxed);
            const void* argument = fn.load(std::memory_order_relaxed);
            const int64_t index = n_tasks.load(std::memory_order_relaxed) - static_cast<int64_t>(left_of(seen));
            if (!tickets.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_acquire))
                continue;
            run(argument, index, worker);
            unfinished.fetch_sub(1, std::memory_order_release);
            seen = tickets.load(std::memory_order_acquire);
        }
    }

    uint64_t job() const { return job_of(tickets.load(std::memory_order_acquire)); }

    void wait_for_job_after(uint64_t last) {
        for (int i = 0; i < kSpins; ++i) {
            if (job() != last) return;
            relax();
        }
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return job() != last; });
    }

    void loop(int worker) {
        for (uint64_t last = 0; !stopping;) {
            wait_for_job_after(last);
            last = job();
            work(worker);
        }
    }

    void stop() {
        stopping = true;
        start(0);
        for (std::thread& t : threads) t.join();
    }

    void start(uint64_t n_left) {
        {
            std::lock_guard lock(mutex);
            tickets.store(ticket(job() + 1, n_left), std::memory_order_release);
        }
        wake.notify_all();
    }
};

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads < 1 ? 1 : n_threads), state_(std::make_unique<State>()) {
    try {
        for (int worker = 1; worker < n_threads_; ++worker)
            state_->threads.emplace_back([this, worker] { state_->loop(worker); });
    } catch (const std::exception& error) {  // the system's limit, or its memory, is reached
        const size_t n_started = state_->threads.size() + 1;
        state_->stop();
        throw Error("threads: expected to start " + std::to_string(n_threads_) + ", got " + std::to_string(n_started) +
                    " (" + error.what() + "); use fewer");
    }
}

ThreadPool::~ThreadPool() { state_->stop(); }

void ThreadPool::run_tasks(int64_t n_tasks, Task task, const void* fn) {
    GGQ_ASSERT(n_tasks <= UINT32_MAX, "too many tasks");
    State& s = *state_;
    s.n_tasks.store(n_tasks, std::memory_order_relaxed);
    s.task.store(task, std::memory_order_relaxed);
    s.fn.store(fn, std::memory_order_relaxed);
    s.unfinished.store(n_tasks, std::memory_order_relaxed);
    s.start(static_cast<uint64_t>(n_tasks));
    s.work(0);
    // Where other programs want the cores too, the last task may need ours to finish.
    for (int spins = 0; s.unfinished.load(std::memory_order_acquire) != 0; ++spins)
        if (spins < kSpins) relax();
        else std::this_thread::yield();
}

}  // namespace ggq
