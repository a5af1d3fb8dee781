// y[i] = weight i of a quantized tensor: level * scale (4 bits) or code * (scale / 127) (int8), rounded to float, then
// to y's type. Both levels of scales are restored in the same pass. A thread takes 8 weights, 4 bytes of codes and 16
// bytes of f16 or bf16, twice; the lanes of a warp store side by side, and there are as many blocks as that takes:
// those that come and go keep reading and writing mixed. What is left over, or not aligned, goes one by one. Floor: the
// bytes of both, 2.52 a weight from NF4 with double quantization to bf16.
#include "kernels/cuda/dequantize.h"

#include "kernels/cuda/code_pairs.cuh"
#include "kernels/cuda/launch.cuh"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256, kRun = 8, kRuns = 2;

struct Args {
    QuantParts q;
    DType format;
    int shift;  // 4 bits: log2 of the weights a scale
    int64_t n;
};

template <typename To>
__device__ __forceinline__ void store_run(To* to, const float (&w)[kRun]) {
    if constexpr (sizeof(To) == 2) {
        store<kRun>(to, w);
    } else {
        store<4>(to, reinterpret_cast<const float(&)[4]>(w[0]));
        store<4>(to + 4, reinterpret_cast<const float(&)[4]>(w[4]));
    }
}

// Runs [0, n_runs) of 8 weights.
template <typename To>
__global__ void __launch_bounds__(kThreads)
    dequantize_4bit_kernel(const __grid_constant__ Args p, int64_t n_runs, To* to) {
    begin_dependent();
    __shared__ float levels[16], map[256];
    const int64_t first = blockIdx.x * (int64_t{kThreads} * kRuns) + threadIdx.x;
    const auto run_at = [&](int r) { return first + r * kThreads < n_runs ? first + r * kThreads : n_runs - 1; };
    uint32_t codes[kRuns];
    RawScale scales[kRuns];
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
        codes[r] = load_streamed(reinterpret_cast<const uint32_t*>(p.q.codes) + run_at(r));
        scales[r] = raw_scale(p.q, run_at(r) * kRun >> p.shift);
    }
    const float offset = scale_offset(p.q);
    load_levels(levels, p.format);
    for (int i = static_cast<int>(threadIdx.x); i < 256; i += kThreads) map[i] = kDeviceSignedMap.of[i];
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
        float w[kRun];
        decode_codes(CodeWords<kRun>{{codes[r]}}, levels, restored(p.q, scales[r], map, offset), w);
        if (first + r * kThreads < n_runs) store_run(to + (first + r * kThreads) * kRun, w);
    }
}

// Rows of a multiple of 8 weights; the grid's second dimension goes over rows.
template <typename To>
__global__ void __launch_bounds__(kThreads)
    dequantize_int8_kernel(const __grid_constant__ Args p, int64_t n_rows, To* to) {
    const int64_t columns = p.q.block;
    for (int64_t row = blockIdx.y; row < n_rows; row += gridDim.y) {
        const float factor = row_factor(p.q, row);
        const int64_t begin = row * columns;
        for (int64_t c = (blockIdx.x * int64_t{kThreads} + threadIdx.x) * kRun; c < columns;
             c += int64_t{gridDim.x} * kThreads * kRun) {
            const auto codes = *reinterpret_cast<const Pack<int8_t, kRun>*>(p.q.codes + begin + c);
            float w[kRun];
#pragma unroll
            for (int i = 0; i < kRun; ++i) w[i] = __fmul_rn(static_cast<float>(codes.of[i]), factor);
            store_run(to + begin + c, w);
        }
    }
}

// Weights [begin, n) one by one.
template <typename To>
__global__ void __launch_bounds__(kThreads)
    dequantize_plain_kernel(const __grid_constant__ Args p, int64_t begin, To* to) {
    const int64_t step = int64_t{gridDim.x} * kThreads;
    for (int64_t i = begin + blockIdx.x * int64_t{kThreads} + threadIdx.x; i < p.n; i += step) {
        float w;
        if (p.format == DType::int8) {
            const auto code = static_cast<float>(static_cast<int8_t>(p.q.codes[i]));
            w = __fmul_rn(code, row_factor(p.q, i / p.q.block));
        } else {
            w = __fmul_rn(level(p.format, code_at(p.q.codes, i)), block_scale(p.q, i >> p.shift));
        }
        to[i] = from_float<To>(w);
    }
}

bool on_16_bytes_here(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

template <typename To>
void run(const CudaContext& ctx, const Args& p, To* to) {
    int64_t begin = 0;  // of what is left
    if (on_16_bytes_here(to) && on_16_bytes_here(p.q.codes)) {
        const int64_t n_runs = p.n / kRun;
        if (p.format != DType::int8) {
            begin = n_runs * kRun;
            launch_dependent(ctx, dequantize_4bit_kernel<To>,
                             dim3(static_cast<unsigned>(ceil_div(n_runs, int64_t{kThreads} * kRuns))), kThreads, 0, p,
                             n_runs, to);
        } else if (p.q.block % kRun == 0) {
            begin = p.n;
            const int64_t n_rows = p.n / p.q.block;
            const dim3 grid(static_cast<unsigned>(ceil_div(p.q.block, kThreads * kRun)),
                            static_cast<unsigned>(n_rows < 65535 ? n_rows : 65535));
            launch(ctx, dequantize_int8_kernel<To>, grid, kThreads, 0, p, n_rows, to);
        }
    }
    launch(ctx, dequantize_plain_kernel<To>, dim3(blocks_for(ctx, p.n - begin, kThreads)), kThreads, 0, p, begin, to);
}

}  // namespace

void dequantize_to(const CudaContext& ctx, const QuantParts& q, DType format, int64_t n_elems, DType to, void* dst) {
    const Args args{.q = q, .format = format, .shift = block_shift(q), .n = n_elems};
    with_real(to, [&](auto tag) { run(ctx, args, static_cast<decltype(tag)*>(dst)); });
}

}  // namespace ggq::cuda
