// What the benches of products share: random matrices, several copies of a weight in rotation, a check against double.
#pragma once

#include <cmath>
#include <memory>
#include <random>

#include "bench/ceilings.h"
#include "ggq/backend.h"
#include "kernels/formats.h"

namespace ggq::bench {

// Memory as programs have it.
inline Backend& memory() {
    static const std::unique_ptr<Backend> backend = make_cpu_backend(1);
    return *backend;
}

class Buffer {
public:
    explicit Buffer(int64_t bytes) : data_(static_cast<std::byte*>(memory().allocate(bytes)), Release{bytes}) {}
    std::byte* data() const { return data_.get(); }
    std::span<std::byte> span() const { return {data_.get(), static_cast<size_t>(data_.get_deleter().bytes)}; }

private:
    struct Release {
        int64_t bytes;
        void operator()(std::byte* data) const { memory().release(data, bytes); }
    };
    std::unique_ptr<std::byte, Release> data_;
};

struct Matrix {
    Buffer buffer;
    View view;

    Matrix(DType dtype, int64_t rows, int64_t cols)
        : buffer(storage_bytes(dtype, Shape{rows, cols}, {})), view(make_view(buffer.data(), dtype, {rows, cols})) {}
};

inline Matrix random_matrix(int64_t rows, int64_t cols) {
    Matrix matrix(DType::f32, rows, cols);
    std::minstd_rand engine(static_cast<unsigned>(rows * 31 + cols));
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < rows * cols; ++i) matrix.view.as<float>()[i] = normal(engine);
    return matrix;
}

inline void run_kernel(const CpuKernel& kernel, std::vector<View> out, std::vector<View> in,
                       std::span<std::byte> workspace) {
    const ParamBlock params;
    kernel[detect_cpu_isa()]({&pool()}, {out, in, &params, workspace});
}

// Copies of a weight until they exceed what caches hold, so that every product reads its weight from memory.
inline std::vector<Matrix> rotation_of(const Matrix& weight) {
    constexpr int64_t kFarBeyondCaches = int64_t{1} << 29;
    const int64_t bytes = storage_bytes(weight.view.dtype, weight.view.shape, {});
    std::vector<Matrix> copies;
    for (int64_t total = 0; total < kFarBeyondCaches; total += bytes) {
        copies.emplace_back(weight.view.dtype, weight.view.shape[0], weight.view.shape[1]);
        std::memcpy(copies.back().buffer.data(), weight.buffer.data(), static_cast<size_t>(bytes));
    }
    return copies;
}

// Whether sampled elements of y[m,n] are x[m,k] w[n,k]^T (f32).
inline bool is_product(const View& y, const View& x, const View& w) {
    const int64_t n = w.shape[0], k = w.shape[1];
    for (int64_t at = 0; at < y.n_elems(); at += 1 + y.n_elems() / 997) {
        const float *row = x.as<float>() + at / n * k, *column = w.as<float>() + at % n * k;
        double sum = 0, size = 0;
        for (int64_t i = 0; i < k; ++i) {
            sum += double{row[i]} * column[i];
            size += std::abs(double{row[i]} * column[i]);
        }
        if (!(std::abs(y.as<float>()[at] - sum) <= 1e-5 * size)) return false;
    }
    return true;
}

}  // namespace ggq::bench
