// Quantizing to the formats of kernels/formats.h and back; codes are bitsandbytes' bit for bit.
//   nf4, fp4  x * (1 / absmax) in float, then how many thresholds lie below it: the code, or FP4's interval.
//             In an all-zero block 0 * inf = NaN is above no threshold, so every code is 0, as on bitsandbytes' CUDA.
//   scales    double quantization: offset = mean of all absmax, (absmax - offset) / (absmax of 256 of these), then the
//             nearest entry of kSignedMap (code 0 where all 256 are the mean, again by NaN). The mean is summed in
//             double: chunks of kSumChunk in order, then their sums.
//   int8      round half to even of x * (127 / absmax of the row)
// Floor: the bytes of both tensors.
#include "kernels/chunks.h"
#include "kernels/cpu/quantized.h"
#include "kernels/cpu/workspace.h"
#include "kernels/rounding.h"

namespace ggq::cpu::GGQ_ISA {

namespace {

constexpr int64_t kBlocksPerTask = 64;

// A view's parts are read-only; the quantizer alone writes them.
template <typename T>
GGQ_INLINE T* writable(const T* part) {
    return const_cast<T*>(part);
}

GGQ_INLINE float largest_magnitude(const float* x, int64_t n) {
    float largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; ++i) {
        const float magnitude = __builtin_fabsf(x[i]);
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

void nf4_codes(const float* x, int n, uint8_t* codes) {
    for (int i = 0; i < n; ++i) {
        uint32_t code = 0;
        for (int t = 0; t < 15; ++t) code += x[i] > kNf4Thresholds.data()[t];
        codes[i] = static_cast<uint8_t>(code);
    }
}

void fp4_codes(const float* x, int n, uint8_t* codes) {
    for (int i = 0; i < n; ++i) {
        uint32_t interval = 0;
        for (int t = 0; t < 7; ++t) interval += __builtin_fabsf(x[i]) > kFp4Thresholds.data()[t];
        codes[i] = static_cast<uint8_t>(kFp4CodeOfInterval.data()[interval] | (x[i] < 0 ? 8 : 0));
    }
}

// Codes and absmax of one block of n values; an odd last value is paired with 0.
float quantize_block(DType dtype, float* x, int n, uint8_t* bytes) {
    const float absmax = largest_magnitude(x, n), inverse = 1.0f / absmax;
    uint8_t codes[kLargestQuantBlock];
    x[n] = 0;
    const int n_even = n + n % 2;
    for (int i = 0; i < n_even; ++i) x[i] *= inverse;
    dtype == DType::nf4 ? nf4_codes(x, n_even, codes) : fp4_codes(x, n_even, codes);
    for (int i = 0; i < n_even; i += 2) bytes[i / 2] = static_cast<uint8_t>(codes[i] << 4 | codes[i + 1]);
    return absmax;
}

template <typename From>
void to_floats(const From* from, int64_t n, float* to) {
    for (int64_t i = 0; i < n; ++i) to[i] = convert<float>(from[i]);
}

template <typename From>
void quantize_blocks(ThreadPool& pool, const View& q, const From* x, float* absmax) {
    const int64_t n = q.n_elems(), block = q.quant.block;
    auto* codes = writable(q.quant.codes);
    pool.for_range(ceil_div(n, block), kBlocksPerTask, [&](int64_t begin, int64_t end) {
        float values[kLargestQuantBlock + 1];
        for (int64_t b = begin; b < end; ++b) {
            const int64_t at = b * block, count = n - at < block ? n - at : block;
            to_floats(x + at, count, values);
            absmax[b] = quantize_block(q.dtype, values, static_cast<int>(count), codes + at / 2);
        }
    });
}

float mean_in_order(ThreadPool& pool, const float* x, int64_t n, double* chunk_sums) {
    pool.for_range(n, kSumChunk, [&](int64_t begin, int64_t end) {
        double sum = 0;
        for (int64_t i = begin; i < end; ++i) sum += static_cast<double>(x[i]);
        chunk_sums[begin / kSumChunk] = sum;
    });
    double sum = 0;
    for (int64_t i = 0; i * kSumChunk < n; ++i) sum += chunk_sums[i];
    return n > 0 ? static_cast<float>(sum / static_cast<double>(n)) : 0.0f;
}

// The nearest entry of kSignedMap: the number of midpoints below x.
GGQ_INLINE uint8_t nearest_code(float x) {
    const float* map = kSignedMap.data();
    int code = 0;
    for (int step = 128; step > 0; step /= 2) {
        const int above = code + step;
        if (x > (map[above - 1] + map[above]) * 0.5f) code = above;
    }
    return static_cast<uint8_t>(code);
}

void quantize_scales(ThreadPool& pool, const QuantParts& q, const float* absmax, int64_t n, double* chunk_sums) {
    const float offset = mean_in_order(pool, absmax, n, chunk_sums);
    *writable(q.offset) = offset;
    pool.for_range(ceil_div(n, kNestedBlock), kBlocksPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
            const int64_t at = b * kNestedBlock, count = n - at < kNestedBlock ? n - at : kNestedBlock;
            float centred[kNestedBlock];
            for (int64_t i = 0; i < count; ++i) centred[i] = absmax[at + i] - offset;
            const float largest = largest_magnitude(centred, count), inverse = 1.0f / largest;
            writable(q.nested)[b] = largest;
            for (int64_t i = 0; i < count; ++i) writable(q.scale_codes)[at + i] = nearest_code(centred[i] * inverse);
        }
    });
}

// Out of range (and NaN, which no comparison holds for) becomes an end of the range.
GGQ_INLINE int8_t to_int8(float x) {
    const float rounded = __builtin_rintf(x);
    return static_cast<int8_t>(rounded >= -127.0f ? (rounded <= 127.0f ? rounded : 127.0f) : -127.0f);
}

template <typename From>
void quantize_rows(ThreadPool& pool, const View& q, const From* x) {
    const int64_t row_elems = q.quant.block;
    auto* codes = reinterpret_cast<int8_t*>(writable(q.quant.codes));
    pool.for_range(q.n_elems() / row_elems, rows_per_task(row_elems), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            const From* from = x + row * row_elems;
            float absmax = 0;
            for (int64_t i = 0; i < row_elems; ++i) {
                const float magnitude = __builtin_fabsf(convert<float>(from[i]));
                absmax = magnitude > absmax ? magnitude : absmax;
            }
            writable(q.quant.scales)[row] = absmax;
            const float factor = absmax > 0 ? 127.0f / absmax : 0.0f;
            for (int64_t i = 0; i < row_elems; ++i)
                codes[row * row_elems + i] = to_int8(convert<float>(from[i]) * factor);
        }
    });
}

}  // namespace

void quantize(const CpuContext& ctx, const KernelArgs& args) {
    const View &q = args.out[0], &x = args.in[0];
    if (q.n_elems() == 0) return;
    with_float(x.dtype, [&](auto tag) {
        const auto* from = x.as<const decltype(tag)>();
        if (!format(q.dtype).block_scales) return quantize_rows(*ctx.threads, q, from);
        const int64_t n_scales = ceil_div(q.n_elems(), q.quant.block);
        if (q.quant.scales) return quantize_blocks(*ctx.threads, q, from, writable(q.quant.scales));
        const QuantizeBuffers at = quantize_buffers(n_scales);
        auto* absmax = reinterpret_cast<float*>(args.workspace.data() + at.absmax);
        auto* chunk_sums = reinterpret_cast<double*>(args.workspace.data() + at.chunk_sums);
        quantize_blocks(*ctx.threads, q, from, absmax);
        quantize_scales(*ctx.threads, q.quant, absmax, n_scales, chunk_sums);
    });
}

void dequantize(const CpuContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &q = args.in[0];
    with_float(y.dtype, [&](auto tag) {
        auto* to = y.as<decltype(tag)>();
        ctx.threads->for_range(y.n_elems(), kTaskElems, [&](int64_t begin, int64_t end) {
            float values[kLargestQuantBlock];
            for (int64_t i = begin; i < end; i += kLargestQuantBlock) {
                const int64_t n = end - i < kLargestQuantBlock ? end - i : kLargestQuantBlock;
                decode(q.quant, q.dtype, i, n, values);
                for (int64_t j = 0; j < n; ++j) to[i + j] = convert<decltype(tag)>(values[j]);
            }
        });
    });
}

}  // namespace ggq::cpu::GGQ_ISA
