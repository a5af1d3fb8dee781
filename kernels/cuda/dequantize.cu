// y[i] = weight i of a quantized tensor: level * scale (4 bits), code * (scale / 127) (int8) or what a block of GGUF
// says, rounded to float, then to y's type. Both levels of scales are restored in the same pass. A thread takes 8
// weights, 4 bytes of codes and 16 bytes of f16 or bf16, four times, so that four loads are under way; the lanes of a
// warp store side by side. What is left over, or not aligned, goes one by one. Floor: the bytes of both, 2.52 a weight
// from NF4 with double quantization to bf16.
#include "kernels/cuda/dequantize.h"

#include <iterator>

#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/reduce.cuh"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 256, kRun = 8;

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

// Runs [0, n_runs) of 8 weights, by stretches of kRuns a lane and warp: each lane finds the scale of one 64 of them and
// hands it to the lanes that have its runs. Codes and scales are read before the kernel in front has ended: weights are
// frozen, and kernels that quantize let none start early (launch.cuh).
template <typename To, int kThreads, int kRuns>
__global__ void __launch_bounds__(kThreads)
    dequantize_stretches(const __grid_constant__ Args p, int64_t n_runs, To* to) {
    constexpr int kLanesA64 = 64 / kRun, kScales = kRuns * kWarp / kLanesA64;
    __shared__ float levels[16];
    load_levels(levels, p.format);
    __syncthreads();
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const int64_t begin = (blockIdx.x * int64_t{kThreads / kWarp} + warp) * (kRuns * kWarp), last = n_runs - 1;
    if (begin > last) return;
    const int64_t first = begin + lane, own = begin + lane % kScales * kLanesA64;
    CodeWords<kRun> codes[kRuns];
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
        const int64_t run = first + r * kWarp;
        codes[r].of[0] = load_streamed(reinterpret_cast<const uint32_t*>(p.q.codes) + (run < n_runs ? run : last));
    }
    const float scale = block_scale(p.q, (own < n_runs ? own : last) * kRun >> p.shift);
    begin_dependent();
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
        const int64_t run = first + r * kWarp;
        float w[kRun];
        decode_codes(codes[r], levels, __shfl_sync(0xffffffffu, scale, r * (kWarp / kLanesA64) + lane / kLanesA64), w);
        if (run < n_runs) store_run(to + run * kRun, w);
    }
}

// The same, in which each thread finds the scales of its own runs.
template <typename To, int kThreads, int kRuns>
__global__ void __launch_bounds__(kThreads) dequantize_runs(const __grid_constant__ Args p, int64_t n_runs, To* to) {
    __shared__ float levels[16];
    load_levels(levels, p.format);
    __syncthreads();
    const int64_t first = blockIdx.x * int64_t{kThreads * kRuns} + threadIdx.x;
    CodeWords<kRun> codes[kRuns];
    float scales[kRuns];
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
        const int64_t run = first + r * kThreads, i = (run < n_runs ? run : n_runs - 1) * kRun;
        codes[r] = codes_at<kRun>(p.q.codes, i);
        scales[r] = block_scale(p.q, i >> p.shift);
    }
    begin_dependent();
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
        const int64_t run = first + r * kThreads;
        float w[kRun];
        decode_codes(codes[r], levels, scales[r], w);
        if (run < n_runs) store_run(to + run * kRun, w);
    }
}

// One way to dequantize 4 bits: Tuning::dequantize is the number of a row.
template <typename To>
struct Form {
    void (*kernel)(Args, int64_t, To*);
    int threads, runs;  // of a block; of a thread
};

template <typename To>
constexpr Form<To> kForms[] = {{dequantize_stretches<To, 256, 4>, 256, 4}, {dequantize_stretches<To, 128, 4>, 128, 4},
                               {dequantize_stretches<To, 512, 4>, 512, 4}, {dequantize_stretches<To, 128, 8>, 128, 8},
                               {dequantize_stretches<To, 256, 8>, 256, 8}, {dequantize_runs<To, 256, 4>, 256, 4}};
static_assert(std::size(kForms<float>) == static_cast<size_t>(tuning_row("dequantize")->n_values));

template <typename To>
void run_4bit(const CudaContext& ctx, const Args& p, int64_t n_runs, To* to) {
    const Form<To>& form = kForms<To>[ctx.device->tuning.dequantize];
    const int64_t blocks = ceil_div(n_runs, int64_t{form.threads} * form.runs);
    launch_dependent(ctx, form.kernel, dim3(static_cast<unsigned>(blocks)), form.threads, 0, p, n_runs, to);
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

// Blocks that hold their scales: a thread takes 8 weights after 8.
template <typename Format, typename To>
__global__ void __launch_bounds__(kThreads) dequantize_packed_kernel(const uint8_t* blocks, int64_t n_runs, To* to) {
    const int64_t step = int64_t{gridDim.x} * kThreads;
    for (int64_t run = blockIdx.x * int64_t{kThreads} + threadIdx.x; run < n_runs; run += step) {
        float w[kRun];
        gguf::decode_run<Format, kRun>(blocks, run * kRun, w);
        store_run(to + run * kRun, w);
    }
}

template <typename To>
void run_packed(const CudaContext& ctx, const Args& p, To* to) {
    const int64_t n_runs = p.n / kRun;
    gguf::with_format(p.format, [&](auto format) {
        launch(ctx, dequantize_packed_kernel<decltype(format), To>, dim3(blocks_for(ctx, n_runs, kThreads)), kThreads,
               0, p.q.codes, n_runs, to);
    });
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
        } else if (holds_scales(p.format)) {
            w = packed_weight(p.format, p.q.codes, i);
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
        if (is_packed(p.format)) {
            begin = n_runs * kRun;
            run_packed(ctx, p, to);
        } else if (p.format != DType::int8) {
            begin = n_runs * kRun;
            run_4bit(ctx, p, n_runs, to);
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
