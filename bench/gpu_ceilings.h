// What a GPU can do, measured in the run that is compared with it: bytes read and written per second by a large copy,
// and bf16 multiply-adds per second by cuBLAS on random data, 8192 x 8192 x 8192.
#pragma once

#include "ggq/backend.h"

#if defined(GGQ_CUDA)
#include <cuda_runtime_api.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/cuda/blas.h"
#include "kernels/cuda/context.h"
#endif

namespace ggq::bench {

struct GpuCeilings {
    double copy = 0;   // bytes per second, read plus written
    double flops = 0;  // per second; 0 without cuBLAS
};

#if defined(GGQ_CUDA)

// Seconds of the fastest of a few runs of `work` on the default stream.
template <typename F>
double gpu_seconds(const F& work) {
    cudaEvent_t start, stop;
    GGQ_CUDA_CHECK(cudaEventCreate(&start));
    GGQ_CUDA_CHECK(cudaEventCreate(&stop));
    float best = 1e30f;
    for (int i = 0; i < 8; ++i) {
        GGQ_CUDA_CHECK(cudaEventRecord(start));
        work();
        GGQ_CUDA_CHECK(cudaEventRecord(stop));
        GGQ_CUDA_CHECK(cudaEventSynchronize(stop));
        float ms = 0;
        GGQ_CUDA_CHECK(cudaEventElapsedTime(&ms, start, stop));
        best = std::min(best, ms);
    }
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
    return static_cast<double>(best) * 1e-3;
}

inline GpuCeilings measure_gpu(Backend& backend) {
    constexpr int64_t kSide = 8192, kMatrix = kSide * kSide * 2, kWorkspace = 32 << 20, kCopy = int64_t{1} << 30;
    const int64_t bytes = std::max(3 * kMatrix + kWorkspace, 2 * kCopy);
    auto* data = static_cast<std::byte*>(backend.allocate(bytes));
    std::vector<uint16_t> random(static_cast<size_t>(kSide * kSide));
    uint32_t state = 1;
    for (uint16_t& bits : random) {  // signs and mantissas at random, magnitudes in [0.5, 2)
        state = state * 1664525u + 1013904223u;
        bits = static_cast<uint16_t>((state >> 16 & 0x80ff) | 0x3f00);
    }
    backend.copy_in(data, random.data(), kMatrix);
    backend.copy_in(data + kMatrix, random.data(), kMatrix);
    backend.synchronize();
    GpuCeilings result;
    std::string problem;
    if (const auto blas = cuda::Blas::open(problem)) {
        blas->start(false);
        cuda::BlasProduct p;
        p.m = p.n = p.k = p.y_stride = kSide;
        p.x = {data, DType::bf16, kSide, false};
        p.w = {data + kMatrix, DType::bf16, kSide, false};
        p.y = data + 2 * kMatrix;
        p.y_dtype = DType::bf16;
        const double seconds = gpu_seconds([&] { blas->multiply(nullptr, p, data + 3 * kMatrix, kWorkspace); });
        result.flops = 2.0 * kSide * kSide * kSide / seconds;
    }
    const double seconds = gpu_seconds(
        [&] { GGQ_CUDA_CHECK(cudaMemcpyAsync(data + kCopy, data, kCopy, cudaMemcpyDeviceToDevice, nullptr)); });
    result.copy = 2.0 * kCopy / seconds;
    backend.release(data, bytes);
    return result;
}

#else

inline GpuCeilings measure_gpu(Backend&) { return {}; }

#endif

}  // namespace ggq::bench
