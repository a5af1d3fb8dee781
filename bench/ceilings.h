// What this machine can do, measured in the run that is compared with it: bytes read per second from memory far larger
// than the caches, and float multiply-adds per second with the widest vectors, both with all threads.
#pragma once

#include <benchmark/benchmark.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "kernels/cpu/threads.h"
#include "kernels/kernel.h"

namespace ggq::bench {

// One thread for each core that this process may use (taskset and containers make it fewer than there are).
inline ThreadPool& pool() {
    static ThreadPool threads([] {
        cpu_set_t usable;
        CPU_ZERO(&usable);
        return sched_getaffinity(0, sizeof usable, &usable) == 0 ? CPU_COUNT(&usable) : 1;
    }());
    return threads;
}

template <typename F>
double seconds(const F& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

constexpr int kCeilingRepeats = 20;  // of which the best counts: neighbours only ever make a machine slower
constexpr int kFmaSums = 12;         // independent chains, enough to hide the latency
constexpr int64_t kFmaSteps = 2'000'000;

typedef float Floats4 __attribute__((vector_size(16)));
typedef float Floats8 __attribute__((vector_size(32)));
typedef float Floats16 __attribute__((vector_size(64)));

// One step is kFmaSums vectors of multiply-adds. Inlined into the functions below, it takes their instructions.
template <typename V>
[[gnu::always_inline]] inline float multiply_add_chain() {
    V sum[kFmaSums], x = V{} + 0.999f, y = V{} + 1e-3f;
    for (int j = 0; j < kFmaSums; ++j) sum[j] = V{} + static_cast<float>(j);  // different, else they become one
    for (int64_t i = 0; i < kFmaSteps; ++i) {
#pragma GCC unroll 12
        for (int j = 0; j < kFmaSums; ++j) sum[j] = sum[j] * x + y;
    }
    V total = {};
    for (const V& s : sum) total += s;
    return total[0];
}

inline float fma_portable() { return multiply_add_chain<Floats4>(); }
#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] inline float fma_avx2() { return multiply_add_chain<Floats8>(); }
[[gnu::target("avx512f,prefer-vector-width=512")]] inline float fma_avx512() { return multiply_add_chain<Floats16>(); }
#endif

inline float fma_chain(CpuIsa isa) {
#if defined(__x86_64__)
    if (isa == CpuIsa::avx512) return fma_avx512();
    if (isa == CpuIsa::avx2) return fma_avx2();
#endif
    return isa == CpuIsa::portable ? fma_portable() : 0;
}

inline double measure_flops() {
    const CpuIsa isa = detect_cpu_isa();
    const int lanes = isa == CpuIsa::avx512 ? 16 : isa == CpuIsa::avx2 ? 8 : 4;
    double best = 0;
    for (int repeat = 0; repeat < kCeilingRepeats; ++repeat) {
        const double took = seconds(
            [&] { pool().run(pool().size(), [&](int64_t, int) { benchmark::DoNotOptimize(fma_chain(isa)); }); });
        best = std::max(best, 2.0 * kFmaSums * lanes * static_cast<double>(kFmaSteps) * pool().size() / took);
    }
    return best;
}

// The sum of n floats, a multiple of 64.
template <typename V>
[[gnu::always_inline]] inline float read_with(const float* data, int64_t n) {
    constexpr int64_t kLanes = sizeof(V) / sizeof(float);
    V sum[4] = {};
    for (int64_t i = 0; i < n; i += 4 * kLanes)
#pragma GCC unroll 4
        for (int64_t j = 0; j < 4; ++j) {
            V v;
            std::memcpy(&v, data + i + j * kLanes, sizeof v);
            sum[j] += v;
        }
    sum[0] += sum[1] + sum[2] + sum[3];
    return sum[0][0];
}

inline float read_portable(const float* data, int64_t n) { return read_with<Floats4>(data, n); }
#if defined(__x86_64__)
[[gnu::target("avx2")]] inline float read_avx2(const float* data, int64_t n) { return read_with<Floats8>(data, n); }
[[gnu::target("avx512f")]] inline float read_avx512(const float* data, int64_t n) {
    return read_with<Floats16>(data, n);
}
#endif

inline float read_all(CpuIsa isa, const float* data, int64_t n) {
#if defined(__x86_64__)
    if (isa == CpuIsa::avx512) return read_avx512(data, n);
    if (isa == CpuIsa::avx2) return read_avx2(data, n);
#endif
    return isa == CpuIsa::portable ? read_portable(data, n) : 0;
}

inline double measure_read_bandwidth() {
    constexpr int64_t kFloats = int64_t{1} << 27, kRun = int64_t{1} << 18;  // 512 MiB in tasks of 1 MiB
    const std::vector<float> data(static_cast<size_t>(kFloats), 1.0f);
    double best = 0;
    for (int repeat = 0; repeat < kCeilingRepeats; ++repeat) {
        const double took = seconds([&] {
            pool().run(kFloats / kRun, [&](int64_t task, int) {
                benchmark::DoNotOptimize(read_all(detect_cpu_isa(), data.data() + task * kRun, kRun));
            });
        });
        best = std::max(best, 4.0 * static_cast<double>(kFloats) / took);
    }
    return best;
}

}  // namespace ggq::bench
