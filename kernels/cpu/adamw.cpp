// AdamW with decoupled weight decay on flat ranges; a bf16 parameter is updated in float and rounded to nearest even.
//
// adamw       as torch: p -= lr wd p;  m += (1 - b1)(g - m);  v = b2 v + (1 - b2) g^2;
//             p -= lr / c1 * m / (sqrt(v) / sqrt(c2) + eps), where c = 1 - b^step.
// adamw_8bit  as bitsandbytes' blockwise optimizer: m and v are 8-bit codes in blocks of kStateBlock with one absmax
//             each; the update is made from the float moments before they are rounded,
//             p -= lr sqrt(c2) / c1 * m / (sqrt(v) + eps sqrt(c2)), then p -= lr wd p.
#include "kernels/code_maps.h"
#include "kernels/cpu/real.h"
#include "kernels/params.h"
#include "kernels/rounding.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

double scalar(const View& v) { return v.dtype == DType::f64 ? *v.as<double>() : static_cast<double>(*v.as<float>()); }

// What one step needs beside the elements; computed in double, as torch does, and narrowed once.
template <typename T>
struct Step {
    T beta1, beta2, one_minus_beta1, one_minus_beta2, eps, lr, decay, correction1, root_correction2, grad_factor;

    explicit Step(const KernelArgs& args) {
        const AdamWParams& params = args.param<AdamWParams>();
        const size_t n_in = args.in.size();
        const double b1 = static_cast<double>(params.beta1), b2 = static_cast<double>(params.beta2);
        const double step = static_cast<double>(*args.in[n_in - 2].as<int64_t>());
        const double rate = scalar(args.in[n_in - 3]);
        beta1 = static_cast<T>(b1);
        beta2 = static_cast<T>(b2);
        one_minus_beta1 = static_cast<T>(1 - b1);
        one_minus_beta2 = static_cast<T>(1 - b2);
        eps = static_cast<T>(params.eps);
        lr = static_cast<T>(rate);
        decay = static_cast<T>(1 - rate * static_cast<double>(params.weight_decay));
        correction1 = static_cast<T>(1 - __builtin_pow(b1, step));
        root_correction2 = static_cast<T>(__builtin_sqrt(1 - __builtin_pow(b2, step)));
        grad_factor = static_cast<T>(scalar(args.in[n_in - 1]));
    }
};

GGQ_INLINE float root(float x) { return __builtin_sqrtf(x); }
GGQ_INLINE double root(double x) { return __builtin_sqrt(x); }

template <typename T, typename P>
void update(const CpuContext& ctx, const KernelArgs& args) {
    const Step<T> s(args);
    P* p = args.out[0].as<P>();
    T* m = args.out[1].as<T>();
    T* v = args.out[2].as<T>();
    const T* g = args.in[3].as<T>();
    const T step_size = s.lr / s.correction1;
    for_each_elem(ctx, args.out[0].n_elems(), [=](int64_t i) {
        const T grad = g[i] * s.grad_factor;
        m[i] += s.one_minus_beta1 * (grad - m[i]);
        v[i] = s.beta2 * v[i] + s.one_minus_beta2 * grad * grad;
        const T denominator = root(v[i]) / s.root_correction2 + s.eps;
        p[i] = convert<P>(convert<T>(p[i]) * s.decay - step_size * (m[i] / denominator));
    });
}

// A map of 256 ascending values, its midpoints, and where to look: floats are told apart by sign, exponent and 7 bits
// of mantissa into buckets so narrow that none holds two midpoints. A code is then that of the bucket's lower end, or
// the next one if x is above the midpoint between them: exactly what a search would find.
struct CodeMap {
    static constexpr int32_t kLeast = (127 - 23) << 7;            // the bucket of 2^-23, below all midpoints but zero's
    static constexpr int32_t kBuckets = (127 << 7) - kLeast + 1;  // up to 1

    const float* value;
    float midpoint[257];
    int32_t code[2 * kBuckets];  // of positive, then of negative buckets

    explicit CodeMap(const std::array<float, 256>& map) : value(map.data()) {
        for (int c = 0; c < 255; ++c) midpoint[c] = (value[c] + value[c + 1]) * 0.5f;
        midpoint[255] = midpoint[256] = __builtin_inff();
        int32_t above = 0, below = 255;
        for (int32_t i = 0; i < kBuckets; ++i) {
            const float low = i == 0 ? 0 : bits_to_float(static_cast<uint32_t>(kLeast + i) << 16);
            const float high = bits_to_float(static_cast<uint32_t>(kLeast + i + 1) << 16);
            while (midpoint[above] < low) ++above;
            while (below > 0 && midpoint[below - 1] > -high) --below;
            GGQ_ASSERT(midpoint[above + 1] >= high && midpoint[below + 1] >= -low, "two midpoints in a bucket");
            code[i] = above;
            code[kBuckets + i] = below;
        }
    }
};

const CodeMap& signed_map() {
    static const CodeMap map(kSignedMap);
    return map;
}

const CodeMap& unsigned_map() {
    static const CodeMap map(kUnsignedMap);
    return map;
}

// Writes n <= kStateBlock values as the codes nearest to x / absmax, and their absmax.
void encode(uint8_t* codes, float* absmax, const float* x, int64_t n, const CodeMap& map) {
    float magnitude[kStateBlock] = {};
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) magnitude[i] = __builtin_fabsf(x[i]);
    const float top = max_of(magnitude, n);
    const float divisor = top > 0 ? top : 1;
    int32_t found[kStateBlock];
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        const float scaled = x[i] / divisor;
        const uint32_t bits = float_to_bits(scaled);
        int32_t bucket = static_cast<int32_t>((bits & 0x7fffffffu) >> 16) - CodeMap::kLeast;
        bucket = bucket < 0 ? 0 : bucket;
        bucket = bucket < CodeMap::kBuckets ? bucket : CodeMap::kBuckets - 1;
        bucket += static_cast<int32_t>(bits >> 31) * CodeMap::kBuckets;
        found[i] = map.code[bucket];
        found[i] += scaled > map.midpoint[found[i]];
    }
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>(found[i]);
    *absmax = top;
}

void decode(float* x, const uint8_t* codes, float absmax, int64_t n, const CodeMap& map) {
    const float* value = map.value;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) x[i] = value[codes[i]] * absmax;
}

template <typename P>
void update_block(P* p, float* m, float* v, const float* g, int64_t n, const Step<float>& s) {
    const float step_size = s.lr * s.root_correction2 / s.correction1;
    const float eps = s.eps * s.root_correction2;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        const float grad = g[i] * s.grad_factor;
        m[i] = m[i] * s.beta1 + s.one_minus_beta1 * grad;
        v[i] = v[i] * s.beta2 + s.one_minus_beta2 * grad * grad;
        const float moved = convert<float>(p[i]) - step_size * (m[i] / (__builtin_sqrtf(v[i]) + eps));
        p[i] = convert<P>(moved * s.decay);
    }
}

template <typename P>
void update_8bit(const CpuContext& ctx, const KernelArgs& args) {
    const Step<float> s(args);
    const CodeMap& m_map = signed_map();
    const CodeMap& v_map = unsigned_map();
    const int64_t n_elems = args.out[0].n_elems();
    auto* m_codes = args.out[1].as<uint8_t>();
    auto* v_codes = args.out[2].as<uint8_t>();
    auto* m_absmax = args.out[3].as<float>();
    auto* v_absmax = args.out[4].as<float>();
    ctx.threads->for_range(ceil_div(n_elems, kStateBlock), kTaskElems / kStateBlock, [&](int64_t begin, int64_t end) {
        float m[kStateBlock], v[kStateBlock];
        for (int64_t block = begin; block < end; ++block) {
            const int64_t at = block * kStateBlock, n = n_elems - at < kStateBlock ? n_elems - at : kStateBlock;
            decode(m, m_codes + at, m_absmax[block], n, m_map);
            decode(v, v_codes + at, v_absmax[block], n, v_map);
            update_block(args.out[0].as<P>() + at, m, v, args.in[5].as<float>() + at, n, s);
            encode(m_codes + at, m_absmax + block, m, n, m_map);
            encode(v_codes + at, v_absmax + block, v, n, v_map);
        }
    });
}

// A factor that is not finite is that of gradients that overflowed: such a step is none.
bool is_step(const KernelArgs& args) { return __builtin_isfinite(scalar(args.in.back())); }

}  // namespace

void adamw(const CpuContext& ctx, const KernelArgs& args) {
    if (!is_step(args)) return;
    with_real(args.out[1].dtype, [&](auto tag) {
        with_float(args.out[0].dtype, [&](auto parameter) { update<decltype(tag), decltype(parameter)>(ctx, args); });
    });
}

void adamw_8bit(const CpuContext& ctx, const KernelArgs& args) {
    if (!is_step(args)) return;
    with_float(args.out[0].dtype, [&](auto parameter) { update_8bit<decltype(parameter)>(ctx, args); });
}

}  // namespace ggq::cpu::GGQ_ISA
