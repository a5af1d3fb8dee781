// Runs a kernel as no graph would: for every instruction set that the machine has, with 1 and with 3 threads, between
// guard bytes, into poisoned outputs and a workspace of just the size asked for; and compares with expected values.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/kernel.h"

namespace ggq::test {

// A tensor of its own memory with guard bytes on both sides. Elements are read and written as doubles.
class TestTensor {
public:
    TestTensor(DType dtype, const Shape& shape);  // poisoned: every byte 0xff, which is NaN in every float type
    TestTensor(const TestTensor& other);
    TestTensor(TestTensor&& other) = default;
    TestTensor& operator=(TestTensor other) noexcept;

    const View& view() const { return view_; }
    int64_t n_elems() const { return view_.n_elems(); }
    double at(int64_t i) const;  // i counts elements in storage order
    void set(int64_t i, double value);
    std::vector<double> values() const;
    bool guards_hold() const;
    bool same_bytes(const TestTensor& other) const;

private:
    static constexpr size_t kGuard = 128;
    std::byte* data() { return memory_.data() + offset_; }
    const std::byte* data() const { return memory_.data() + offset_; }

    std::vector<std::byte> memory_;
    size_t offset_ = 0, n_bytes_ = 0;
    View view_;
};

// Values uniform in [low, high), rounded to the dtype; the same for the same seed.
TestTensor random_tensor(DType dtype, const Shape& shape, uint64_t seed, double low = -1, double high = 1);
TestTensor tensor_of(DType dtype, const Shape& shape, const std::vector<double>& values);

struct KernelCase {
    std::string name;
    CpuKernel kernel;
    std::vector<TestTensor> out;  // what the kernel finds there: poison, or the old value of an in-out output
    std::vector<TestTensor> in;   // the first n_inout of them are not read: the outputs stand for them
    ParamBlock params = {};
    int n_inout = 0;
    std::function<int64_t(int n_threads)> workspace = {};
    std::vector<std::pair<int, View>> strided = {};  // replaces the view of input i by another of the same memory
};

// All outputs, as the best instruction set computed them.
std::vector<TestTensor> run_kernel(const KernelCase& c, CpuIsa isa, int n_threads);

// CHECKs guards, the same bits for both thread counts, and for every output |got - expected| <= tolerance * scale,
// where scale is the largest |expected| of that output (at least 1e-30). An empty list of expected values is not
// compared.
void check_kernel(const KernelCase& c, const std::vector<std::vector<double>>& expected, double tolerance);

// Of one element of a computing type: what correct rounding leaves after some thousand operations.
double tolerance_of(DType dtype);

}  // namespace ggq::test
