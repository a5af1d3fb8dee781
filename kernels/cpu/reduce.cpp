// sum, the norm of a flat range, and the factor that clips by it. A sum is taken in chunks of kSumChunk elements and
// then over the chunks in order, all in double: the same bits with any number of threads.
#include "kernels/chunks.h"
#include "kernels/cpu/real.h"
#include "kernels/params.h"
#include "kernels/rounding.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

constexpr int64_t kWave = 2048;  // chunks summed at a time: their sums wait in an array on the stack

// The sum of term(x[i]) over i in [0, n).
template <typename T, typename F>
double sum_of(const CpuContext& ctx, const T* x, int64_t n, const F& term) {
    double total = 0;
    for (int64_t first = 0; first < n; first += kWave * kSumChunk) {
        const int64_t left = n - first < kWave * kSumChunk ? n - first : kWave * kSumChunk;
        const int64_t n_chunks = ceil_div(left, kSumChunk);
        double sums[kWave];
        ctx.threads->for_range(n_chunks, kTaskElems / kSumChunk, [&](int64_t begin, int64_t end) {
            for (int64_t chunk = begin; chunk < end; ++chunk) {
                const T* from = x + first + chunk * kSumChunk;
                const int64_t count = left - chunk * kSumChunk < kSumChunk ? left - chunk * kSumChunk : kSumChunk;
                double sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int64_t i = 0; i < count; ++i) sum += term(static_cast<double>(from[i]));
                sums[chunk] = sum;
            }
        });
        for (int64_t chunk = 0; chunk < n_chunks; ++chunk) total += sums[chunk];
    }
    return total;
}

}  // namespace

void sum(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        const double total = sum_of(ctx, args.in[0].as<T>(), args.in[0].n_elems(), [](double x) { return x; });
        *args.out[0].as<T>() = static_cast<T>(total);
    });
}

void global_norm(const CpuContext& ctx, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        const double total = sum_of(ctx, args.in[0].as<T>(), args.in[0].n_elems(), [](double x) { return x * x; });
        *args.out[0].as<T>() = static_cast<T>(__builtin_sqrt(total));
    });
}

void clip_factor(const CpuContext&, const KernelArgs& args) {
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        const T norm = *args.in[0].as<T>(), max_norm = static_cast<T>(args.param<ClipParams>().max_norm);
        const T clipped = max_norm > 0 && norm > max_norm ? max_norm / (norm + static_cast<T>(1e-6)) : T{1};
        *args.out[0].as<T>() = __builtin_isfinite(norm) ? clipped : static_cast<T>(__builtin_nanf(""));
    });
}

}  // namespace ggq::cpu::GGQ_ISA
