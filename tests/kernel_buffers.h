// Memory for tests of kernels: buffers between guard bytes, matrices of any dtype and strides filled with small
// multiples of 1/8 (exact in every float type, and sums of their products in float), and one call on every instruction
// set that this machine has.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "kernels/cpu/threads.h"
#include "kernels/formats.h"
#include "kernels/kernel.h"

namespace ggq::test {

class GuardedBuffer {
public:
    explicit GuardedBuffer(int64_t bytes) : bytes_(bytes) {
        auto* memory = static_cast<std::byte*>(::operator new (total(), std::align_val_t{64}));
        std::memset(memory, kGuard, total());
        memory_.reset(memory);
    }
    std::byte* data() const { return memory_.get() + kGuardBytes; }
    std::span<std::byte> span() const { return {data(), static_cast<size_t>(bytes_)}; }

    bool guards_intact() const {
        for (size_t i = 0; i < kGuardBytes; ++i)
            if (memory_.get()[i] != std::byte{kGuard} || data()[static_cast<size_t>(bytes_) + i] != std::byte{kGuard})
                return false;
        return true;
    }

private:
    static constexpr int kGuard = 0xa5;  // as floats: tiny garbage that shows if an output is read or not written
    static constexpr size_t kGuardBytes = 256;
    size_t total() const { return static_cast<size_t>(bytes_) + 2 * kGuardBytes; }

    struct Free {
        void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{64}); }
    };
    std::unique_ptr<std::byte, Free> memory_;
    int64_t bytes_;
};

inline uint16_t half_bits(float value) {
    if (value == 0) return 0;
    int exponent;
    const float mantissa = std::frexp(std::fabs(value), &exponent) * 2 - 1;
    return static_cast<uint16_t>((value < 0 ? 0x8000 : 0) | (exponent + 14) << 10 | static_cast<int>(mantissa * 1024));
}

inline void put(const View& v, int64_t offset, double value) {
    const auto as_float = static_cast<float>(value);
    uint32_t bits;
    std::memcpy(&bits, &as_float, 4);
    switch (v.dtype) {
        case DType::f64: v.as<double>()[offset] = value; break;
        case DType::bf16: v.as<bf16>()[offset].bits = static_cast<uint16_t>(bits >> 16); break;
        case DType::f16: v.as<f16>()[offset].bits = half_bits(as_float); break;
        default: v.as<float>()[offset] = as_float;
    }
}

// Of f32 and f64.
inline double get(const View& v, int64_t offset) {
    return v.dtype == DType::f64 ? v.as<double>()[offset] : static_cast<double>(v.as<float>()[offset]);
}

inline std::vector<double> values(const View& v) {
    std::vector<double> all(static_cast<size_t>(v.n_elems()));
    for (size_t i = 0; i < all.size(); ++i) all[i] = get(v, static_cast<int64_t>(i));
    return all;
}

// How a matrix lies in memory.
enum class Order { rows, columns, sparse };

struct Matrix {
    GuardedBuffer buffer;
    View view;
    std::vector<double> value;  // row-major, what was put in

    Matrix(DType dtype, int64_t rows, int64_t cols, Order order = Order::rows, QuantSpec spec = {})
        : buffer(order == Order::sparse ? 6 * rows * cols * info(dtype).bytes
                                        : storage_bytes(dtype, Shape{rows, cols}, spec)),
          view(make_view(buffer.data(), dtype, {rows, cols}, spec)) {
        if (order == Order::columns) view.strides = {{1, rows}};
        if (order == Order::sparse) view.strides = {{3 * cols, 2}};
    }
    int64_t rows() const { return view.shape[0]; }
    int64_t cols() const { return view.shape[1]; }
    double at(int64_t row, int64_t col) const { return value[static_cast<size_t>(row * cols() + col)]; }
};

inline Matrix random_matrix(DType dtype, int64_t rows, int64_t cols, Order order = Order::rows) {
    Matrix matrix(dtype, rows, cols, order);
    std::minstd_rand engine(static_cast<unsigned>(1 + rows * 131 + cols * 7));
    std::uniform_int_distribution<int> eighths(-16, 16);
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols; ++c) {
            matrix.value.push_back(eighths(engine) / 8.0);
            put(matrix.view, r * matrix.view.strides[0] + c * matrix.view.strides[1], matrix.value.back());
        }
    return matrix;
}

inline std::vector<CpuIsa> machine_isas() {
    std::vector<CpuIsa> all;
    for (CpuIsa isa : {CpuIsa::portable, CpuIsa::avx2, CpuIsa::avx512})
        if (isa <= detect_cpu_isa()) all.push_back(isa);
    return all;
}

struct Call {
    const CpuKernel& kernel;
    std::vector<View> out, in;
    ParamBlock params = {};
    int64_t workspace_bytes = 0;

    void run(CpuIsa isa, ThreadPool& pool) const {
        const GuardedBuffer workspace(workspace_bytes);
        kernel[isa]({&pool}, {out, in, &params, workspace.span()});
        CHECK(workspace.guards_intact());
    }
};

// |got - wanted| <= tolerance * scale everywhere; shows the worst element.
inline void check_close(const View& got, const std::vector<double>& wanted, double tolerance) {
    REQUIRE(static_cast<size_t>(got.n_elems()) == wanted.size());
    double scale = 1e-30, worst = -1;
    for (double w : wanted) scale = std::max(scale, std::fabs(w));
    int64_t where = 0;
    for (int64_t i = 0; i < got.n_elems(); ++i) {
        const double error = std::fabs(get(got, i) - wanted[static_cast<size_t>(i)]);
        if (!(error <= worst)) worst = error, where = i;  // NaN is the worst
    }
    if (wanted.empty()) return;
    CAPTURE(where);
    CAPTURE(get(got, where));
    CAPTURE(wanted[static_cast<size_t>(where)]);
    CHECK(worst <= tolerance * scale);
}

}  // namespace ggq::test
