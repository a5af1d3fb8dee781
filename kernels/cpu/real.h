// Small pieces that CPU kernels share: element conversions, choosing T by dtype, exp that the compiler can vectorize.
//
// Everything here lives in the namespace of the instruction set being compiled (GGQ_ISA is portable, avx2 or avx512):
// the same inline function compiled for two instruction sets must not be merged by the linker. For the same reason
// kernels keep to these helpers and plain loops, and use nothing from the standard library that is not inlined away.
// Loops that reduce say `#pragma omp simd reduction(+ : s)`, for the build has -fopenmp-simd but no fast-math.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/threads.h"
#include "kernels/kernel.h"
#include "kernels/view.h"

#if defined(__FMA__) || defined(__F16C__)
#include <immintrin.h>
#endif

namespace ggq::cpu::GGQ_ISA {

#define GGQ_INLINE inline __attribute__((always_inline))

// Elements worth a task of their own: below it, starting a thread costs more than the work.
inline constexpr int64_t kTaskElems = 16384;

GGQ_INLINE int64_t rows_per_task(int64_t row_elems) {
    return row_elems < 1 ? kTaskElems : row_elems > kTaskElems ? 1 : kTaskElems / row_elems;
}

// f(i) for every i in [0, n), vectorized: f holds its pointers by value and touches nothing but element i of each.
template <typename F>
GGQ_INLINE void for_each_elem(const CpuContext& ctx, int64_t n, const F& f) {
    ctx.threads->for_range(n, kTaskElems, [&](int64_t begin, int64_t end) {
        const F by_value = f;
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) by_value(i);
    });
}

// a * b + c, fused where the instruction set has it. The build does not contract by itself.
template <typename T>
GGQ_INLINE T madd(T a, T b, T c) {
#if defined(__FMA__)
    if constexpr (std::is_same_v<T, float>) return __builtin_fmaf(a, b, c);
    if constexpr (std::is_same_v<T, double>) return __builtin_fma(a, b, c);
#endif
    return a * b + c;
}

GGQ_INLINE float bits_to_float(uint32_t bits) {
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
}

GGQ_INLINE uint32_t float_to_bits(float f) {
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    return bits;
}

GGQ_INLINE float to_float(float x) { return x; }
GGQ_INLINE double to_float(double x) { return x; }
GGQ_INLINE float to_float(bf16 x) { return bits_to_float(static_cast<uint32_t>(x.bits) << 16); }
// Normal numbers and subnormals alike: place the bits in a float and multiply by 2^112; inf and NaN apart. Loops over
// this vectorize, those over the F16C instruction do not.
GGQ_INLINE float to_float(f16 x) {
    const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
    const uint32_t rest = x.bits & 0x7fffu;
    const float scaled = bits_to_float(rest << 13) * 0x1p112f;
    const uint32_t magnitude = rest >= 0x7c00u ? (0x7f800000u | (rest & 0x3ffu) << 13) : float_to_bits(scaled);
    return bits_to_float(sign | magnitude);
}

// Rounds to nearest even; NaN stays NaN.
template <typename To>
GGQ_INLINE To from_float(float x) {
    if constexpr (std::is_same_v<To, bf16>) {
        const uint32_t bits = float_to_bits(x);
        const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        return bf16{static_cast<uint16_t>(x != x ? 0x7fc0u : rounded)};
    } else if constexpr (std::is_same_v<To, f16>) {
#if defined(__F16C__)
        return f16{static_cast<uint16_t>(_cvtss_sh(x, 0))};
#else
        const uint32_t bits = float_to_bits(x), sign = (bits >> 16) & 0x8000u, rest = bits & 0x7fffffffu;
        if (rest > 0x7f800000u) return f16{static_cast<uint16_t>(sign | 0x7e00u)};
        if (rest >= 0x47800000u) return f16{static_cast<uint16_t>(sign | 0x7c00u)};
        if (rest < 0x38800000u) {  // subnormal: adding 0.5 aligns the mantissa and rounds
            const uint32_t m = float_to_bits(bits_to_float(rest) + 0.5f) - 0x3f000000u;
            return f16{static_cast<uint16_t>(sign | m)};
        }
        const uint32_t rounded = rest + 0xc8000fffu + ((rest >> 13) & 1u);
        return f16{static_cast<uint16_t>(sign | (rounded >> 13))};
#endif
    } else {
        return static_cast<To>(x);
    }
}

// Converts between any two float types; double narrows through float only for the 16-bit ones.
template <typename To, typename From>
GGQ_INLINE To convert(From x) {
    if constexpr (std::is_same_v<To, From>) return x;
    else if constexpr (std::is_same_v<To, bf16> || std::is_same_v<To, f16>)
        return from_float<To>(static_cast<float>(to_float(x)));
    else return static_cast<To>(to_float(x));
}

// The first n elements of a row in type T: the row itself, or converted into `buffer`.
template <typename T, typename W>
GGQ_INLINE const T* widened(const W* row, T* buffer, int64_t n) {
    if constexpr (std::is_same_v<T, W>) {
        return row;
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) buffer[i] = convert<T>(row[i]);
        return buffer;
    }
}

// Calls f with a value of the C++ type of a floating dtype: with_float(v.dtype, [&](auto tag) { using W =
// decltype(tag); ... }).
template <typename F>
GGQ_INLINE void with_float(DType t, const F& f) {
    switch (t) {
        case DType::f32: return f(float{});
        case DType::f64: return f(double{});
        case DType::f16: return f(f16{});
        case DType::bf16: return f(bf16{});
        default: return;
    }
}

// The same for the two computing types.
template <typename F>
GGQ_INLINE void with_real(DType t, const F& f) {
    if (t == DType::f64) return f(double{});
    f(float{});
}

// exp in float to 2 ulp: 2^n times a polynomial on [-ln2/2, ln2/2]; no branches, so loops over it vectorize.
GGQ_INLINE float exp_real(float x) {
    x = x < -87.3f ? -87.3f : x;
    x = x > 88.37f ? 88.37f : x;                              // 2^127 is the last exponent
    const float shifted = madd(x, 1.44269504f, 12582912.0f);  // 1.5 * 2^23: the integer part lands in the low bits
    const float n = shifted - 12582912.0f;
    float r = madd(n, -0.693359375f, x);
    r = madd(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = madd(p, r, 1.3981999507e-3f);
    p = madd(p, r, 8.3334519073e-3f);
    p = madd(p, r, 4.1665795894e-2f);
    p = madd(p, r, 1.6666665459e-1f);
    p = madd(p, r, 5.0000001201e-1f);
    p = madd(p, r * r, r) + 1.0f;
    const uint32_t exponent = (float_to_bits(shifted) - float_to_bits(12582912.0f) + 127u) << 23;
    return p * bits_to_float(exponent);
}
GGQ_INLINE double exp_real(double x) { return __builtin_exp(x); }

// The largest of n >= 1 elements; 16 running maxima, which a compiler may not make of one by itself.
template <typename T>
GGQ_INLINE T max_of(const T* x, int64_t n) {
    T lane[16];
    for (T& top : lane) top = x[0];
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
#pragma omp simd
        for (int j = 0; j < 16; ++j) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (; i < n; ++i) lane[0] = x[i] > lane[0] ? x[i] : lane[0];
    T top = lane[0];
    for (T candidate : lane) top = candidate > top ? candidate : top;
    return top;
}

}  // namespace ggq::cpu::GGQ_ISA
