// Vec<T>: one machine register of floats or doubles, for the few loops that must keep sums in registers (products).
// Everything else is a plain loop that the compiler vectorizes. Arithmetic on a Vec is written with operators; only the
// fused multiply-add needs the instruction set by name.
#pragma once

#include "kernels/cpu/real.h"

namespace ggq::cpu::GGQ_ISA {

#if defined(__AVX512F__)
inline constexpr int kVecBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVecBytes = 32;
#else
inline constexpr int kVecBytes = 16;
#endif

template <typename T>
struct VecOf {
    typedef T Type __attribute__((vector_size(kVecBytes)));
};
template <typename T>
using Vec = typename VecOf<T>::Type;

template <typename T>
inline constexpr int kLanes = kVecBytes / static_cast<int>(sizeof(T));

template <typename T>
GGQ_INLINE Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <typename T>
GGQ_INLINE void store(T* p, const Vec<T>& v) {
    std::memcpy(p, &v, sizeof v);
}

template <typename T>
GGQ_INLINE Vec<T> splat(T x) {
    return x - Vec<T>{};
}

// a * b + c, the same bits in each lane as madd of real.h.
template <typename T>
GGQ_INLINE Vec<T> madd(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
    else return (Vec<T>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
    if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
    else return (Vec<T>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
    return a * b + c;
#endif
}

}  // namespace ggq::cpu::GGQ_ISA
