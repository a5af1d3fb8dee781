// Choosing a token from logits: the arithmetic that every device does alike, to the bit, so that all choose the same
// token of equal logits.
//
// The distance of a token is how far its logit lies below the largest. A key of kKeyBits bits stands for it: 0 for the
// largest itself, else 1 + the upper bits of the float 1 + distance, within 2^-18 of it near the top and 2^-18 of its
// size beyond. Tokens are ordered by key, then by id. Likelihoods are integers made of keys, so that tokens of one key
// are equally likely and sums are the same in any order of their terms.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/philox.h"

namespace ggq::sampling {

// A row of the tensor settings f32[R,8].
struct Settings {
    float inverse_temperature = INFINITY;  // infinite: the likeliest token, the first of equal ones
    float top_k = 0;                       // only so many likeliest tokens; 0: all
    float top_p = 1;                       // of those, the fewest likeliest that make up this share; 1: all
    float farthest = INFINITY;             // only tokens of at most this distance: min-p, as -log(p)
    float repeat = 1;                      // penalties of the tokens among the last kWindow: logits above 0 are divided
    float presence = 0, frequency = 0;  // by it, others multiplied; taken off once, and for each time that it is there
    float vocabulary = 0;               // only the first so many tokens; 0: all

    GGQ_SHARED bool penalizes() const { return repeat != 1 || presence != 0 || frequency != 0; }
};
static_assert(sizeof(Settings) == 32);

inline constexpr int kWindow = 64;     // tokens that penalties look back at
inline constexpr int kDigitBits = 11;  // a key has an upper and a lower digit
inline constexpr uint32_t kDigits = 1u << kDigitBits, kKeys = kDigits * kDigits;
inline constexpr uint64_t kStream = 0x73616d706c65;

// Products and sums that are not fused: the builds for CPUs contract nothing, the one for cards would.
GGQ_SHARED float product(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

GGQ_SHARED uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

GGQ_SHARED float of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

inline constexpr uint32_t kOne = 0x3f800000;  // the bits of 1.0f
inline constexpr int kDropped = 5;            // lowest bits of the float

GGQ_SHARED uint32_t key_of(float top, float logit) {
    const float distance = top - logit;
    if (distance == 0) return 0;
    const uint32_t key = 1 + ((bits_of(1 + distance) - kOne) >> kDropped);
    return key < kKeys ? key : kKeys - 1;
}

GGQ_SHARED float distance_of(uint32_t key) { return key == 0 ? 0 : of_bits(kOne + ((key - 1) << kDropped)) - 1; }

// exp(-distance / temperature) as an integer, 2^40 for a distance of 0.
GGQ_SHARED uint64_t weight_of(uint32_t key, float inverse_temperature) {
    const float x = product(product(distance_of(key), inverse_temperature), -1.44269504f);
    if (!(x > -60)) return 0;
    const int whole = static_cast<int>(x) - (x < 0 ? 1 : 0);
    const float f = x - static_cast<float>(whole);  // in [0, 1]
    float p = 0.0017883688f;
    p = product(p, f) + 0.00919938739f;
    p = product(p, f) + 0.0556570552f;
    p = product(p, f) + 0.240207195f;
    p = product(p, f) + 0.69314754f;
    p = product(p, f) + 1;
    const auto mantissa = static_cast<uint64_t>(product(p, 0x1p23f));
    const int shift = 17 + whole;
    return shift >= 0 ? mantissa << shift : mantissa >> -shift;
}

// What must be reached to make up a share of a sum.
GGQ_SHARED uint64_t needed(float top_p, uint64_t total) {
    const auto least = static_cast<uint64_t>(ceil(static_cast<double>(top_p) * static_cast<double>(total)));
    return least < 1 ? 1 : least < total ? least : total;
}

// The sum up to which weights are passed over, in [0, total): what is random about a draw.
GGQ_SHARED uint64_t drawn(uint64_t total, uint64_t seed, int64_t n_earlier) {
    const uint64_t word = philox4x32(seed, kStream, static_cast<uint64_t>(n_earlier)).word[0];
    return (total >> 32) * word + (((total & 0xffffffff) * word) >> 32);
}

GGQ_SHARED float penalized(float logit, int count, const Settings& s) {
    logit = logit > 0 ? logit / s.repeat : product(logit, s.repeat);
    return logit - (product(s.frequency, static_cast<float>(count)) + s.presence);
}

// Tokens below `key` are left, and of those at it the first `ties`.
struct Cut {
    uint32_t key = kKeys;
    uint64_t ties = 0;
};

}  // namespace ggq::sampling
