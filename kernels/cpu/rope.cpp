// Rotary position embedding in the half-split form: element i of the first half of a head turns with element i of the
// second half by the angle position * frequency[i]. The angle is one float product when T is float, as in the models'
// own code, since at large positions its rounding is part of the result.
#include "kernels/cpu/real.h"
#include "kernels/params.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

constexpr int64_t kPairs = 128;  // whose sines and cosines are held at a time

GGQ_INLINE float sine(float x) { return __builtin_sinf(x); }
GGQ_INLINE double sine(double x) { return __builtin_sin(x); }
GGQ_INLINE float cosine(float x) { return __builtin_cosf(x); }
GGQ_INLINE double cosine(double x) { return __builtin_cos(x); }

// Turns n pairs of one head: y1, y2 and x1, x2 point to the first of each half.
template <typename T>
GGQ_INLINE void turn(T* y1, T* y2, const T* x1, const T* x2, const T* cos, const T* sin, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        const T a = x1[i], b = x2[i];
        y1[i] = a * cos[i] - b * sin[i];
        y2[i] = b * cos[i] + a * sin[i];
    }
}

// Pairs [first, first + n) of every head of token t.
template <typename T>
void turn_heads(const View& y, const View& x, const T* cos, const T* sin, int64_t t, int64_t first, int64_t n) {
    const int64_t half = x.shape[2] / 2;
    for (int64_t h = 0; h < x.shape[1]; ++h) {
        const T* from = x.as<T>() + t * x.strides[0] + h * x.strides[1] + first;
        T* to = y.as<T>() + t * y.strides[0] + h * y.strides[1] + first;
        turn(to, to + half, from, from + half, cos, sin, n);
    }
}

// The same of queries and keys, which turn by the same angles.
template <typename T>
void turn_token(const KernelArgs& args, T position, T sign, int64_t t, int64_t first, int64_t n) {
    const auto* frequencies = args.in[2].as<float>();
    T cos[kPairs], sin[kPairs];
    for (int64_t i = 0; i < n; ++i) {
        const T angle = position * static_cast<T>(frequencies[first + i]);
        cos[i] = cosine(angle);
        sin[i] = sign * sine(angle);
    }
    turn_heads(args.out[0], args.in[0], cos, sin, t, first, n);
    if (args.in.size() > 3) turn_heads(args.out[1], args.in[3], cos, sin, t, first, n);
}

}  // namespace

void rope(const CpuContext& ctx, const KernelArgs& args) {
    const View& x = args.in[0];
    const int64_t n_pairs = x.shape[2] / 2;
    const auto* positions = args.in[1].as<int32_t>();
    const int64_t n_heads = x.shape[1] + (args.in.size() > 3 ? args.in[3].shape[1] : 0);
    with_real(args.out[0].dtype, [&](auto tag) {
        using T = decltype(tag);
        const T sign = args.param<RopeParams>().inverse ? -1 : 1;
        ctx.threads->for_range(x.shape[0], rows_per_task(n_heads * x.shape[2]), [&](int64_t begin, int64_t end) {
            for (int64_t t = begin; t < end; ++t)
                for (int64_t i = 0; i < n_pairs; i += kPairs)
                    turn_token(args, static_cast<T>(positions[t]), sign, t, i,
                               n_pairs - i < kPairs ? n_pairs - i : kPairs);
        });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
