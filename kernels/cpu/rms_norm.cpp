// rms_norm: y = x rstd w, rstd = 1 / sqrt(mean(x^2) + eps), one value of rstd a row.
// Backward, with h = x rstd: dx = rstd (dy w - h mean(dy w h)) (+ sum), dw = sum over rows of dy h.
#include "kernels/chunks.h"
#include "kernels/cpu/real.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

constexpr int64_t kColumns = 256;  // of dw in one task

template <typename T, typename W>
void norm_row(T* y, T* rstd, const T* x, const W* w, int64_t C, T eps) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < C; ++c) sum += x[c] * x[c];
    const T r = static_cast<T>(1 / __builtin_sqrt(sum / static_cast<T>(C) + eps));
    *rstd = r;
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) y[c] = x[c] * r * convert<T>(w[c]);
}

// Where there is nothing to add to, `before` is null.
template <typename T, typename W>
void norm_row_backward(T* dx, const T* dy, const T* x, const W* w, T rstd, const T* before, int64_t C) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < C; ++c) sum += dy[c] * convert<T>(w[c]) * x[c];
    const T mean = sum * rstd / static_cast<T>(C);
    const auto at = [&](int64_t c) { return rstd * (dy[c] * convert<T>(w[c]) - x[c] * rstd * mean); };
    if (!before) {
#pragma omp simd
        for (int64_t c = 0; c < C; ++c) dx[c] = at(c);
        return;
    }
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) dx[c] = before[c] + at(c);
}

// dw[c] for n <= kColumns neighbouring columns; dw, dy, x point to the first.
template <typename T>
void weight_gradient(T* dw, const T* dy, const T* x, const T* rstd, int64_t n_rows, int64_t C, int64_t n) {
    double total[kColumns] = {};
    for (int64_t first = 0; first < n_rows; first += kNormChunk) {
        const int64_t last = first + kNormChunk < n_rows ? first + kNormChunk : n_rows;
        T part[kColumns] = {};
        for (int64_t t = first; t < last; ++t) {
            const T r = rstd[t];
#pragma omp simd
            for (int64_t c = 0; c < n; ++c) part[c] += dy[t * C + c] * (x[t * C + c] * r);
        }
#pragma omp simd
        for (int64_t c = 0; c < n; ++c) total[c] += static_cast<double>(part[c]);
    }
    for (int64_t c = 0; c < n; ++c) dw[c] = static_cast<T>(total[c]);
}

}  // namespace

void rms_norm(const CpuContext& ctx, const KernelArgs& args) {
    const View& x = args.in[0];
    const View& w = args.in[1];
    const int64_t C = w.n_elems(), n_rows = x.n_elems() / C;
    with_real(args.out[0].dtype, [&](auto tag) {
        with_float(w.dtype, [&](auto from) {
            using T = decltype(tag);
            using W = decltype(from);
            const T eps = static_cast<T>(args.param<RmsNormParams>().eps);
            ctx.threads->for_range(n_rows, rows_per_task(C), [&](int64_t begin, int64_t end) {
                for (int64_t t = begin; t < end; ++t)
                    norm_row(args.out[0].as<T>() + t * C, args.out[1].as<T>() + t, x.as<T>() + t * C, w.as<W>(), C,
                             eps);
            });
        });
    });
}

void rms_norm_backward(const CpuContext& ctx, const KernelArgs& args) {
    const View& w = args.in[2];
    const int64_t C = w.n_elems(), n_rows = args.in[0].n_elems() / C;
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        const T* dy = args.in[0].as<T>();
        const T* x = args.in[1].as<T>();
        const T* rstd = args.in[3].as<T>();
        const T* before = args.in.size() > 4 ? args.in[4].as<T>() : nullptr;
        with_float(w.dtype, [&](auto from) {
            using W = decltype(from);
            ctx.threads->for_range(n_rows, rows_per_task(C), [&](int64_t begin, int64_t end) {
                for (int64_t t = begin; t < end; ++t)
                    norm_row_backward(args.out[0].as<T>() + t * C, dy + t * C, x + t * C, w.as<W>(), rstd[t],
                                      before ? before + t * C : nullptr, C);
            });
        });
        if (args.out.size() < 2) return;
        ctx.threads->for_range(C, n_rows * C <= kTaskElems ? C : kColumns, [&](int64_t begin, int64_t end) {
            for (int64_t c = begin; c < end; c += kColumns)
                weight_gradient(args.out[1].as<T>() + c, dy + c, x + c, rstd, n_rows, C,
                                end - c < kColumns ? end - c : kColumns);
        });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
