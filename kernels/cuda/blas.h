// cuBLAS, opened from the machine's libraries when a CUDA device is first used (CUDA 12 or 13), so that a program built
// with CUDA starts without it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/view.h"

namespace ggq::cuda {

// A matrix [rows, k] of which dot products run along k, in memory with `stride` elements from row to row, or if
// `transposed` from one k to the next.
struct BlasMatrix {
    const void* data = nullptr;
    DType dtype = DType::f32;
    int64_t stride = 0;
    bool transposed = false;
};

// y[m,n] = alpha x[m,k] w[n,k]^T + beta y, summed in float. x and w have one dtype (f32, f16 or bf16), y that one or
// f32; y_stride is in elements.
struct BlasProduct {
    int64_t m = 0, n = 0, k = 0;
    BlasMatrix x = {}, w = {};
    void* y = nullptr;
    DType y_dtype = DType::f32;
    int64_t y_stride = 0;
    float alpha = 1, beta = 0;
};

class Blas {
public:
    // Finds the library and takes no memory on a device. Null without cuBLAS; `problem` then says which files were
    // looked for and what was wrong.
    static std::unique_ptr<Blas> open(std::string& problem);
    // On the current device, before the first product. With `tf32` factors in f32 may be rounded to TF32.
    void start(bool tf32);
    ~Blas();
    Blas(const Blas&) = delete;
    Blas& operator=(const Blas&) = delete;

    std::string version() const;         // such as "13.0.2"
    const std::string& library() const;  // the file, such as libcublas.so.13

    // The same workspace at every call with the same sizes gives the same bits.
    void multiply(cudaStream_t stream, const BlasProduct& product, void* workspace, int64_t workspace_bytes) const;

private:
    struct Library;
    explicit Blas(std::unique_ptr<Library> library);
    std::unique_ptr<Library> library_;
};

}  // namespace ggq::cuda
