// Quantizing to the formats of kernels/formats.h, to the bits of kernels/cpu/quantize.cpp.
//   nf4, fp4  8 values a lane, so 8, 16 or 32 lanes a block: absmax by shuffles, x * (1 / absmax), then how many
//             thresholds lie below it: the code, or FP4's interval. In an all-zero block 0 * inf = NaN is above no
//             threshold, so every code is 0.
//   scales    double quantization: offset = mean of all absmax, (absmax - offset) / (absmax of 256 of these), then the
//             nearest entry of kSignedMap. The mean is summed in double, element after element in chunks of kSumChunk,
//             then chunk after chunk: one thread a chunk adds, for the order is part of the result.
//   int8      round half to even of x * (127 / absmax of the row)
// Floor: the bytes of both tensors. The way back is dequantize.cu.
#include "kernels/chunks.h"
#include "kernels/cuda/code_maps.cuh"
#include "kernels/cuda/dequantize.h"
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/workspace.h"
#include "kernels/formats.h"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kRun = 8;  // consecutive weights of a thread: one word of 4-bit codes

__constant__ const DeviceTable<float, 15> kDeviceNf4Thresholds = device_table(kNf4Thresholds);
__constant__ const DeviceTable<float, 7> kDeviceFp4Thresholds = device_table(kFp4Thresholds);

// The codes of FP4's eight intervals, four bits each.
constexpr uint32_t kFp4Codes = []() {
    uint32_t packed = 0;
    for (size_t i = 0; i < 8; ++i) packed |= uint32_t{kFp4CodeOfInterval[i]} << (4 * i);
    return packed;
}();

// A view's parts are read-only; the quantizer alone writes them.
template <typename T>
T* writable(const T* part) {
    return const_cast<T*>(part);
}

__device__ __forceinline__ uint32_t nf4_code(float x) {
    uint32_t code = 0;
#pragma unroll
    for (int t = 0; t < 15; ++t) code += x > kDeviceNf4Thresholds.of[t] ? 1 : 0;
    return code;
}

__device__ __forceinline__ uint32_t fp4_code(float x) {
    uint32_t interval = 0;
#pragma unroll
    for (int t = 0; t < 7; ++t) interval += fabsf(x) > kDeviceFp4Thresholds.of[t] ? 1 : 0;
    return (kFp4Codes >> (4 * interval) & 15) | (x < 0 ? 8 : 0);
}

// The larger of |x| and top; a NaN counts for nothing.
template <int N>
__device__ __forceinline__ float largest_magnitude(const float (&x)[N], float top) {
#pragma unroll
    for (int i = 0; i < N; ++i) top = fmaxf(top, fabsf(x[i]));
    return top;
}

// codes[ceil(n/2)], absmax[ceil(n/block)]; x[n]. `block` is 8 * lanes. Values beyond n are 0, as an odd last one's
// pair.
template <DType dtype, int lanes, bool wide, typename X>
__global__ void __launch_bounds__(kThreads) quantize_blocks(uint8_t* codes, float* absmax, const X* x, int64_t n) {
    const int64_t run = int64_t{blockIdx.x} * kThreads + threadIdx.x, at = run * kRun;
    float v[kRun];
    if (wide && at + kRun <= n) load_part<wide>(x, at, n, v);
    else load_part<false>(x, at, n, v);
    const float top = warp_reduce<Max, lanes>(largest_magnitude(v, 0)), inverse = __fdiv_rn(1.0f, top);
    uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
        const float scaled = __fmul_rn(v[i], inverse);
        const uint32_t code = dtype == DType::nf4 ? nf4_code(scaled) : fp4_code(scaled);
        word |= code << (8 * (i / 2) + (i % 2 == 0 ? 4 : 0));
    }
    if (at >= n) return;
    if (run % lanes == 0) absmax[run / lanes] = top;
    if (at + kRun <= n) {
        *reinterpret_cast<uint32_t*>(codes + at / 2) = word;
    } else {
        for (int64_t i = 0; 2 * i < n - at; ++i) codes[at / 2 + i] = static_cast<uint8_t>(word >> (8 * i));
    }
}

// chunk_sums[chunk] = sum of x[chunk * kSumChunk ...] from first to last. The block fetches, one thread adds.
__global__ void __launch_bounds__(kThreads) add_chunk_in_order(double* chunk_sums, const float* x, int64_t n) {
    __shared__ float values[kSumChunk];
    const int64_t first = blockIdx.x * kSumChunk;
    const int count = static_cast<int>(n - first < kSumChunk ? n - first : kSumChunk);
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) values[i] = x[first + i];
    __syncthreads();
    if (threadIdx.x != 0) return;
    double sum = 0;
#pragma unroll 16
    for (int i = 0; i < count; ++i) sum += static_cast<double>(values[i]);
    chunk_sums[blockIdx.x] = sum;
}

// offset[1] = the mean of n values, from the sums of their chunks.
__global__ void mean_of_chunks(float* offset, const double* chunk_sums, int64_t n) {
    double sum = 0;
#pragma unroll 16
    for (int64_t chunk = 0; chunk < ceil_div(n, kSumChunk); ++chunk) sum += chunk_sums[chunk];
    *offset = static_cast<float>(sum / static_cast<double>(n));
}

// codes[n], nested[ceil(n/256)]; absmax[n], offset[1]. A warp takes a nested block, a lane 8 scales.
__global__ void __launch_bounds__(kThreads)
    quantize_scales(uint8_t* codes, float* nested, const float* absmax, const float* offset, int64_t n) {
    static_assert(kNestedBlock == kWarp * kRun);
    __shared__ MidpointTree tree;
    fill_tree(tree, kDeviceSignedMap.of);
    __syncthreads();
    const int64_t run = int64_t{blockIdx.x} * kThreads + threadIdx.x, at = run * kRun;
    const float mean = *offset;
    float centred[kRun];
#pragma unroll
    for (int i = 0; i < kRun; ++i) centred[i] = at + i < n ? __fsub_rn(absmax[at + i], mean) : 0.0f;
    const float top = warp_reduce<Max>(largest_magnitude(centred, 0)), inverse = __fdiv_rn(1.0f, top);
    if (at >= n) return;
    if (run % kWarp == 0) nested[run / kWarp] = top;
#pragma unroll
    for (int i = 0; i < kRun; ++i)
        if (at + i < n) codes[at + i] = nearest_code(tree, __fmul_rn(centred[i], inverse));
}

struct alignas(kRun) Int8Codes {
    int8_t of[kRun];
};

// Out of range (and NaN, which no comparison holds for) becomes an end of the range.
__device__ __forceinline__ int8_t to_int8(float x) {
    const float rounded = rintf(x);
    return static_cast<int8_t>(rounded >= -127.0f ? (rounded <= 127.0f ? rounded : 127.0f) : -127.0f);
}

// codes, x [rows, n], scales[rows]. A block takes a row and reads it twice, the second time from the cache.
template <bool wide, typename X>
__global__ void __launch_bounds__(kThreads) quantize_rows(int8_t* codes, float* scales, const X* x, int64_t n) {
    x += blockIdx.x * n;
    codes += blockIdx.x * n;
    float top = 0;
    for (int64_t at = static_cast<int64_t>(threadIdx.x) * kRun; at < n; at += kThreads * kRun) {
        float v[kRun];
        load_part<wide>(x, at, n, v);
        top = largest_magnitude(v, top);
    }
    top = block_reduce<Max, kThreads>(top);
    if (threadIdx.x == 0) scales[blockIdx.x] = top;
    const float factor = top > 0 ? __fdiv_rn(127.0f, top) : 0.0f;
    for (int64_t at = static_cast<int64_t>(threadIdx.x) * kRun; at < n; at += kThreads * kRun) {
        float v[kRun];
        load_part<wide>(x, at, n, v);
        Int8Codes run;
#pragma unroll
        for (int i = 0; i < kRun; ++i) run.of[i] = to_int8(__fmul_rn(v[i], factor));
        if constexpr (wide) {
            *reinterpret_cast<Int8Codes*>(codes + at) = run;
        } else {
#pragma unroll
            for (int i = 0; i < kRun; ++i)
                if (at + i < n) codes[at + i] = run.of[i];
        }
    }
}

// Calls f with format and lanes of a block as std::integral_constant.
template <typename F>
void with_block(DType dtype, int block, const F& f) {
    const auto with_lanes = [&](auto format) {
        switch (block) {
            case 64: return f(format, std::integral_constant<int, 8>{});
            case 128: return f(format, std::integral_constant<int, 16>{});
            case 256: return f(format, std::integral_constant<int, 32>{});
            default: GGQ_ASSERT(false, std::to_string(block));
        }
    };
    if (dtype == DType::nf4) with_lanes(std::integral_constant<DType, DType::nf4>{});
    else with_lanes(std::integral_constant<DType, DType::fp4>{});
}

template <typename X>
void launch_blocks(const CudaContext& ctx, const View& q, const X* x, float* absmax) {
    const int64_t n = q.n_elems();
    const auto n_thread_blocks = static_cast<unsigned>(ceil_div(n, kThreads * kRun));
    with_block(q.dtype, q.quant.block, [&](auto dtype, auto lanes) {
        with_bool(aligned(x, 16), [&](auto wide) {
            launch(ctx, quantize_blocks<dtype.value, lanes.value, wide.value, X>, n_thread_blocks, kThreads, 0,
                   writable(q.quant.codes), absmax, x, n);
        });
    });
}

template <typename X>
void launch_rows(const CudaContext& ctx, const View& q, const X* x) {
    const int64_t n = q.quant.block;
    auto* codes = reinterpret_cast<int8_t*>(writable(q.quant.codes));
    with_bool(wide_rows<kRun>(x, n), [&](auto wide) {
        launch(ctx, quantize_rows<wide.value, X>, static_cast<unsigned>(q.n_elems() / n), kThreads, 0, codes,
               writable(q.quant.scales), x, n);
    });
}

void launch_scales(const CudaContext& ctx, const QuantParts& q, const float* absmax, double* chunk_sums, int64_t n) {
    launch(ctx, add_chunk_in_order, static_cast<unsigned>(ceil_div(n, kSumChunk)), kThreads, 0, chunk_sums, absmax, n);
    launch(ctx, mean_of_chunks, 1, 1, 0, writable(q.offset), chunk_sums, n);
    launch(ctx, quantize_scales, static_cast<unsigned>(ceil_div(n, kThreads * kRun)), kThreads, 0,
           writable(q.scale_codes), writable(q.nested), absmax, q.offset, n);
}

}  // namespace

void quantize(const CudaContext& ctx, const KernelArgs& args) {
    const View &q = args.out[0], &x = args.in[0];
    if (q.n_elems() == 0) return;
    with_real(x.dtype, [&](auto tag) {
        const auto* from = x.as<const decltype(tag)>();
        if (!format(q.dtype).block_scales) return launch_rows(ctx, q, from);
        if (q.quant.scales != nullptr) return launch_blocks(ctx, q, from, writable(q.quant.scales));
        const int64_t n_scales = ceil_div(q.n_elems(), q.quant.block);
        const QuantizeBuffers at = quantize_buffers(n_scales);
        auto* absmax = reinterpret_cast<float*>(args.workspace.data() + at.absmax);
        auto* chunk_sums = reinterpret_cast<double*>(args.workspace.data() + at.chunk_sums);
        launch_blocks(ctx, q, from, absmax);
        launch_scales(ctx, q.quant, absmax, chunk_sums, n_scales);
    });
}

void dequantize(const CudaContext& ctx, const KernelArgs& args) {
    const View &y = args.out[0], &q = args.in[0];
    dequantize_to(ctx, q.quant, q.dtype, y.n_elems(), y.dtype, y.data);
}

}  // namespace ggq::cuda
