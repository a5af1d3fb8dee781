// y[m,n] = x[m,k] w[n,k]^T for at most 8 rows: the weight is streamed once and multiplied with every row of x by float
// multiply-adds. A block takes 4 rows of w (one, where that makes too few blocks, as of LoRA's a); its threads take 8
// consecutive k after 8 of each, so that x, which stays in L1, is read once for four rows; then sums go over the warp
// and, in order, over the warps. 4-bit weights with x in f16 or bf16 have the tensor cores' forms in one_row_4bit.cu
// and few_rows_4bit.cu. Whatever is not aligned, or has other strides, takes a plain form with a warp for each element
// of y. Floor: the bytes of w.
#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/few_rows_4bit.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/one_row_4bit.h"
#include "kernels/cuda/product_output.cuh"
#include "kernels/cuda/product_workspace.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/reduce.cuh"

namespace ggq::cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
constexpr int kRun = 8;  // consecutive k of a thread

struct Args {
    Operand x, w;
    int64_t m, n, k;
    int shift;  // 4-bit: log2 of the weights a scale
    Output y;
};

// Eight weights as they stand in memory, and then as floats.
template <typename T>
struct DenseRun {
    static constexpr int kWords = static_cast<int>(sizeof(T)) / 2;
    uint4 words[kWords];

    __device__ DenseRun(const Args& p, int64_t row, int64_t k) {
        const auto* from = reinterpret_cast<const uint4*>(static_cast<const T*>(p.w.data) + row * p.w.row_stride + k);
#pragma unroll
        for (int i = 0; i < kWords; ++i) words[i] = load_streamed(from + i);
    }
    __device__ void decode(const Args&, const float*, float (&to)[kRun]) const {
        const auto pack = *reinterpret_cast<const Pack<T, kRun>*>(words);
#pragma unroll
        for (int i = 0; i < kRun; ++i) to[i] = to_float(pack.of[i]);
    }
};

struct Run4Bit {
    uint32_t codes;
    float scale;

    __device__ Run4Bit(const Args& p, int64_t row, int64_t k) {
        const int64_t at = row * p.k + k;
        codes = load_streamed(reinterpret_cast<const uint32_t*>(p.w.quant.codes + at / 2));
        scale = block_scale(p.w.quant, at >> p.shift);
    }
    __device__ void decode(const Args&, const float* levels, float (&to)[kRun]) const {
        decode_codes(CodeWords<kRun>{{codes}}, levels, scale, to);
    }
};

struct RunInt8 {
    uint2 codes;
    float factor;

    __device__ RunInt8(const Args& p, int64_t row, int64_t k) {
        codes = load_streamed(reinterpret_cast<const uint2*>(p.w.quant.codes + row * p.k + k));
        factor = row_factor(p.w.quant, row);
    }
    // A byte under the exponent of 2^23 is a float without a conversion: 2^23 + 128 + code.
    __device__ void decode(const Args&, const float*, float (&to)[kRun]) const {
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            const uint32_t word = (i < 4 ? codes.x : codes.y) ^ 0x80808080u;
            const uint32_t bits = __byte_perm(word, 0x4b000000u, 0x7440u + static_cast<uint32_t>(i % 4));
            to[i] = __fmul_rn(__uint_as_float(bits) - 8388736.0f, factor);
        }
    }
};

// A block that holds its scales is read where it is decoded.
struct RunPacked {
    int64_t at;

    __device__ RunPacked(const Args& p, int64_t row, int64_t k) : at(row * p.k + k) {}
    __device__ void decode(const Args& p, const float*, float (&to)[kRun]) const {
        decode_packed(p.w.dtype, p.w.quant.codes, at, to);
    }
};

// Rows beyond m or n compute a copy of the last one.
template <typename W, int M, int kCols>
__device__ __forceinline__ void add_run(const Args& p, const float* levels, int64_t first_col, int64_t k,
                                        float (&sums)[kCols][M]) {
    const auto col = [&](int c) { return first_col + c < p.n ? first_col + c : p.n - 1; };
    float w[kCols][kRun];
    if constexpr (kCols == 1) {
        W(p, first_col, k).decode(p, levels, w[0]);
    } else {
        const W runs[kCols] = {W(p, col(0), k), W(p, col(1), k), W(p, col(2), k), W(p, col(3), k)};
#pragma unroll
        for (int c = 0; c < kCols; ++c) runs[c].decode(p, levels, w[c]);
    }
#pragma unroll
    for (int i = 0; i < M; ++i) {
        float x[kRun];
        eight_at(p.x.data, p.x.dtype, (i < p.m ? i : p.m - 1) * p.x.row_stride + k, x);
#pragma unroll
        for (int c = 0; c < kCols; ++c)
#pragma unroll
            for (int e = 0; e < kRun; ++e) sums[c][i] = fmaf(x[e], w[c][e], sums[c][i]);
    }
}

// Grid: groups of kCols rows of w, 1 or 4. M is m rounded up to a power of two; k is a multiple of 8.
template <typename W, int M, int kCols>
__global__ void __launch_bounds__(kThreads) few_rows_kernel(const __grid_constant__ Args p) {
    __shared__ float levels[16];
    __shared__ float of_warps[kWarps][kCols * M];
    begin_dependent();
    if constexpr (std::is_same_v<W, Run4Bit>) {
        load_levels(levels, p.w.dtype);
        __syncthreads();
    }
    const int64_t first_col = static_cast<int64_t>(blockIdx.x) * kCols;
    float sums[kCols][M] = {};
#pragma unroll(kCols == 1 ? 4 : 1)
    for (int64_t k = static_cast<int64_t>(threadIdx.x) * kRun; k < p.k; k += kThreads * kRun)
        add_run<W, M, kCols>(p, levels, first_col, k, sums);

    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int c = 0; c < kCols; ++c)
#pragma unroll
        for (int i = 0; i < M; ++i) {
            const float sum = warp_reduce<Sum>(sums[c][i]);
            if (lane == 0) of_warps[warp][c * M + i] = sum;
        }
    __syncthreads();
    const int c = static_cast<int>(threadIdx.x) / M, i = static_cast<int>(threadIdx.x) % M;
    if (c >= kCols || i >= p.m || first_col + c >= p.n) return;
    float sum = of_warps[0][c * M + i];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) sum += of_warps[w][c * M + i];
    finish(p.y, i, first_col + c, sum);
}

// Element (row, k) of an operand of any type and strides.
__device__ __forceinline__ float element(const Operand& o, int64_t row, int64_t k) {
    const int64_t at = row * o.row_stride + k * o.k_stride;
    switch (o.dtype) {
        case DType::nf4:
        case DType::fp4:
            return __fmul_rn(level(o.dtype, code_at(o.quant.codes, at)), block_scale(o.quant, at / o.quant.block));
        case DType::int8: {
            const auto code = static_cast<float>(static_cast<int8_t>(o.quant.codes[at]));
            return __fmul_rn(code, row_factor(o.quant, at / o.quant.block));
        }
        default:
            return holds_scales(o.dtype) ? packed_weight(o.dtype, o.quant.codes, at) : value_at(o.data, o.dtype, at);
    }
}

// Grid: (warps of columns, looped over; m). Lanes go along k.
__global__ void __launch_bounds__(kThreads) few_rows_plain_kernel(const __grid_constant__ Args p) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int64_t i = blockIdx.y;
    for (int64_t j = blockIdx.x * int64_t{kWarps} + threadIdx.x / kWarp; j < p.n; j += int64_t{gridDim.x} * kWarps) {
        float sum = 0;
        for (int64_t k = lane; k < p.k; k += kWarp) sum = fmaf(element(p.x, i, k), element(p.w, j, k), sum);
        sum = warp_reduce<Sum>(sum);
        if (lane == 0) finish(p.y, i, j, sum);
    }
}

bool aligned_rows(const void* data, int64_t row_bytes, int64_t to) {
    return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(to) == 0 && row_bytes % to == 0;
}

bool runs_are_aligned(const Product& p) {
    const auto row_bytes = [](const Operand& o) { return o.row_stride * info(o.dtype).bytes; };
    if (p.k % kRun != 0 || p.x.k_stride != 1 || p.w.k_stride != 1) return false;
    if (!aligned_rows(p.x.data, p.m > 1 ? row_bytes(p.x) : 0, 16)) return false;
    if (is_packed(p.w.dtype)) return true;
    if (info(p.w.dtype).quantized) return aligned_rows(p.w.quant.codes, 0, 8);
    return aligned_rows(p.w.data, p.n > 1 ? row_bytes(p.w) : 0, 16);
}

OneRow one_row(const Product& p) {
    OneRow call{.x = p.x.data, .format = p.w.dtype, .real = p.real, .k = static_cast<int>(p.k), .parts = {}};
    call.parts[0] = {.w = p.w.quant, .y = p.y, .n_pairs = static_cast<int>(p.n / 2)};
    return call;
}

template <typename W, int kCols>
void run(const CudaContext& ctx, const Args& p) {
    const dim3 grid(static_cast<unsigned>(ceil_div(p.n, kCols)));
    if (p.m == 1) launch_dependent(ctx, few_rows_kernel<W, 1, kCols>, grid, kThreads, 0, p);
    else if (p.m == 2) launch_dependent(ctx, few_rows_kernel<W, 2, kCols>, grid, kThreads, 0, p);
    else if (p.m <= 4) launch_dependent(ctx, few_rows_kernel<W, 4, kCols>, grid, kThreads, 0, p);
    else launch_dependent(ctx, few_rows_kernel<W, 8, kCols>, grid, kThreads, 0, p);
}

template <typename W>
void run(const CudaContext& ctx, const Args& p) {
    p.n < int64_t{4} * ctx.device->n_sms ? run<W, 1>(ctx, p) : run<W, 4>(ctx, p);
}

void run_aligned(const CudaContext& ctx, const Args& p) {
    if (is_packed(p.w.dtype)) return run<RunPacked>(ctx, p);
    switch (p.w.dtype) {
        case DType::f32: return run<DenseRun<float>>(ctx, p);
        case DType::f16: return run<DenseRun<f16>>(ctx, p);
        case DType::bf16: return run<DenseRun<bf16>>(ctx, p);
        case DType::int8: return run<RunInt8>(ctx, p);
        default: return run<Run4Bit>(ctx, p);
    }
}

}  // namespace

void few_rows(const CudaContext& ctx, const Product& p, Scratch scratch) {
    const bool aligned = runs_are_aligned(p);
    if (aligned && p.x.dtype == p.real && few_rows_in_tensor_cores(p.k, p.real, p.w.dtype))
        return p.m == 1 && ctx.device->tuning.one_row == 1 && one_row_takes(p.n, p.k, p.real, p.w.dtype, *ctx.device)
                   ? one_row_4bit(ctx, one_row(p))
                   : few_rows_4bit(ctx, p, scratch);
    const Args args{.x = p.x, .w = p.w, .m = p.m, .n = p.n, .k = p.k, .shift = block_shift(p.w.quant), .y = p.y};
    if (aligned) return run_aligned(ctx, args);
    const dim3 grid(blocks_for(ctx, p.n, kWarps), static_cast<unsigned>(p.m));
    launch(ctx, few_rows_plain_kernel, grid, kThreads, 0, args);
}

}  // namespace ggq::cuda
