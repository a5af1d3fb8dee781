// cuBLAS as a baseline: what its products take when they are recorded, as our own calls are.
#pragma once

#include "bench/gpu_ceilings.h"
#include "kernels/view.h"

namespace ggq::bench {

#if defined(GGQ_CUDA)

// What `work(stream)` puts on a stream, recorded, so that what starting each part takes is not in its time.
class RecordedWork {
public:
    template <typename F>
    explicit RecordedWork(const F& work) {
        cudaStream_t stream = nullptr;
        cudaGraph_t graph = nullptr;
        GGQ_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
        work(stream);  // first as it is: libraries load their kernels then
        GGQ_CUDA_CHECK(cudaStreamSynchronize(stream));
        GGQ_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        work(stream);
        GGQ_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
        GGQ_CUDA_CHECK(cudaGraphInstantiate(&executable_, graph, 0));
        cudaGraphDestroy(graph);
        cudaStreamDestroy(stream);
    }
    ~RecordedWork() { cudaGraphExecDestroy(executable_); }
    RecordedWork(const RecordedWork&) = delete;
    RecordedWork& operator=(const RecordedWork&) = delete;

    void start() const { GGQ_CUDA_CHECK(cudaGraphLaunch(executable_, nullptr)); }

private:
    cudaGraphExec_t executable_ = nullptr;
};

// Random numbers of a 16-bit type: signs and mantissas at random, magnitudes in [0.5, 2).
inline std::vector<uint16_t> random_16_bit(DType dtype, int64_t n) {
    std::vector<uint16_t> values(static_cast<size_t>(n));
    uint32_t state = 1;
    for (uint16_t& bits : values) {
        state = state * 1664525u + 1013904223u;
        bits = static_cast<uint16_t>(dtype == DType::bf16 ? (state >> 16 & 0x80ff) | 0x3f00
                                                          : (state >> 16 & 0x87ff) | 0x3800);
    }
    return values;
}

// Seconds of one y[m,n] = x[m,k] w[n,k]^T by cuBLAS in bf16 or f16, the best of a few runs of n_calls, each call on the
// next of n_weights; 0 without cuBLAS. Takes and gives back memory.
inline double blas_seconds(Backend& backend, DType dtype, int64_t m, int64_t n, int64_t k, int64_t n_weights,
                           int n_calls) {
    constexpr int64_t kWorkspace = 32 << 20;
    std::string problem;
    const auto blas = cuda::Blas::open(problem);
    if (!blas) return 0;
    blas->start(false);
    const auto padded = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
    const int64_t x_bytes = padded(2 * m * k), w_bytes = padded(2 * n * k), y_bytes = padded(2 * m * n);
    const int64_t bytes = x_bytes + n_weights * w_bytes + y_bytes + kWorkspace;
    auto* data = static_cast<std::byte*>(backend.allocate(bytes));
    std::byte *const weights = data + x_bytes, *const y = weights + n_weights * w_bytes, *const workspace = y + y_bytes;
    const std::vector<uint16_t> random = random_16_bit(dtype, std::max(m, n) * k);
    backend.copy_in(data, random.data(), 2 * m * k);
    for (int64_t i = 0; i < n_weights; ++i) backend.copy_in(weights + i * w_bytes, random.data(), 2 * n * k);
    backend.synchronize();
    cuda::BlasProduct p;
    p.m = m, p.n = n, p.k = k, p.y_stride = n;
    p.x = {data, dtype, k, false};
    p.y = y;
    p.y_dtype = dtype;
    const RecordedWork calls([&](cudaStream_t stream) {
        for (int i = 0; i < n_calls; ++i) {
            p.w = {weights + i % n_weights * w_bytes, dtype, k, false};
            blas->multiply(stream, p, workspace, kWorkspace);
        }
    });
    const double seconds = gpu_seconds([&] { calls.start(); });
    backend.release(data, bytes);
    return seconds / n_calls;
}

#else

inline double blas_seconds(Backend&, DType, int64_t, int64_t, int64_t, int64_t, int) { return 0; }

#endif

}  // namespace ggq::bench
