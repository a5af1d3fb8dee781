#include "tests/kernel_check.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/cpu/threads.h"
#include "kernels/philox.h"

namespace ggq::test {

namespace {

constexpr std::byte kGuardByte{0xa5}, kPoison{0xff};

double half_value(uint16_t bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const double magnitude = exponent == 31  ? (mantissa ? NAN : INFINITY)
                             : exponent == 0 ? std::ldexp(mantissa, -24)
                                             : std::ldexp(1024 + mantissa, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

// The nearest of the values of a 16-bit float type, ties to even: `digits` bits of mantissa with the leading one.
double rounded(double x, int digits, int least_exponent) {
    if (x == 0 || !std::isfinite(x)) return x;
    int exponent = 0;
    std::frexp(x, &exponent);
    const double unit = std::ldexp(1.0, std::max(exponent - digits, least_exponent));
    return std::nearbyint(x / unit) * unit;
}

uint16_t half_bits(double x) {
    const double value = rounded(x, 11, -24);
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    if (std::isnan(x)) return 0x7e00;
    if (std::abs(value) > 65504) return sign | 0x7c00;
    if (std::abs(value) < std::ldexp(1.0, -14)) return sign | static_cast<uint16_t>(std::abs(value) * 0x1p24);
    int exponent = 0;
    const double mantissa = std::frexp(std::abs(value), &exponent);
    return sign | static_cast<uint16_t>((exponent + 14) << 10 | (static_cast<int>(mantissa * 2048) & 1023));
}

double brain_value(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float f = 0;
    std::memcpy(&f, &wide, 4);
    return static_cast<double>(f);
}

uint16_t brain_bits(double x) {
    const auto f = static_cast<float>(rounded(x, 8, -133));
    uint32_t wide = 0;
    std::memcpy(&wide, &f, 4);
    return static_cast<uint16_t>(wide >> 16);
}

// The views that a kernel is called with.
std::vector<View> views_of(const std::vector<TestTensor>& tensors) {
    std::vector<View> views;
    for (const TestTensor& t : tensors) views.push_back(t.view());
    return views;
}

void check_values(const TestTensor& got, const std::vector<double>& expected, double tolerance) {
    REQUIRE(static_cast<int64_t>(expected.size()) == got.n_elems());
    double scale = 1e-30;
    for (double e : expected)
        if (std::isfinite(e)) scale = std::max(scale, std::abs(e));
    int64_t worst = -1;
    double worst_error = tolerance * scale;
    for (int64_t i = 0; i < got.n_elems(); ++i) {
        const double e = expected[static_cast<size_t>(i)], g = got.at(i);
        if (g == e || (std::isnan(g) && std::isnan(e))) continue;
        const double error = std::abs(g - e);
        if (error <= worst_error) continue;
        worst = i;
        worst_error = error;
        if (std::isnan(error)) break;
    }
    if (worst < 0) return;
    CAPTURE(worst);
    CAPTURE(got.at(worst));
    CAPTURE(expected[static_cast<size_t>(worst)]);
    CHECK_MESSAGE(false, "a value is beyond the tolerance of " << tolerance << " times " << scale);
}

}  // namespace

TestTensor::TestTensor(DType dtype, const Shape& shape)
    : n_bytes_(static_cast<size_t>(shape.n_elems() * info(dtype).bytes)) {
    memory_.assign(n_bytes_ + 2 * kGuard + 64, kGuardByte);
    offset_ = kGuard + 64 - reinterpret_cast<uintptr_t>(memory_.data() + kGuard) % 64;
    view_ = {data(), dtype, shape, contiguous_strides(shape), {}};
    std::memset(data(), static_cast<int>(kPoison), n_bytes_);
}

TestTensor::TestTensor(const TestTensor& other) : TestTensor(other.view_.dtype, other.view_.shape) {
    if (n_bytes_ > 0) std::memcpy(data(), other.data(), n_bytes_);
}

TestTensor& TestTensor::operator=(TestTensor other) noexcept {
    std::swap(memory_, other.memory_);  // the bytes stay where they are, and so does the view of them
    std::swap(offset_, other.offset_);
    std::swap(n_bytes_, other.n_bytes_);
    std::swap(view_, other.view_);
    return *this;
}

bool TestTensor::same_bytes(const TestTensor& other) const {
    return n_bytes_ == other.n_bytes_ && (n_bytes_ == 0 || std::memcmp(data(), other.data(), n_bytes_) == 0);
}

bool TestTensor::guards_hold() const {
    for (size_t i = 0; i < memory_.size(); ++i)
        if ((i < offset_ || i >= offset_ + n_bytes_) && memory_[i] != kGuardByte) return false;
    return true;
}

double TestTensor::at(int64_t i) const {
    switch (view_.dtype) {
        case DType::f32: return static_cast<double>(view_.as<float>()[i]);
        case DType::f64: return view_.as<double>()[i];
        case DType::f16: return half_value(view_.as<uint16_t>()[i]);
        case DType::bf16: return brain_value(view_.as<uint16_t>()[i]);
        case DType::i32: return view_.as<int32_t>()[i];
        case DType::i64: return static_cast<double>(view_.as<int64_t>()[i]);
        case DType::i8: return view_.as<int8_t>()[i];
        default: return view_.as<uint8_t>()[i];
    }
}

void TestTensor::set(int64_t i, double value) {
    switch (view_.dtype) {
        case DType::f32: view_.as<float>()[i] = static_cast<float>(value); return;
        case DType::f64: view_.as<double>()[i] = value; return;
        case DType::f16: view_.as<uint16_t>()[i] = half_bits(value); return;
        case DType::bf16: view_.as<uint16_t>()[i] = brain_bits(value); return;
        case DType::i32: view_.as<int32_t>()[i] = static_cast<int32_t>(value); return;
        case DType::i64: view_.as<int64_t>()[i] = static_cast<int64_t>(value); return;
        case DType::i8: view_.as<int8_t>()[i] = static_cast<int8_t>(value); return;
        default: view_.as<uint8_t>()[i] = static_cast<uint8_t>(value); return;
    }
}

std::vector<double> TestTensor::values() const {
    std::vector<double> all(static_cast<size_t>(n_elems()));
    for (size_t i = 0; i < all.size(); ++i) all[i] = at(static_cast<int64_t>(i));
    return all;
}

TestTensor random_tensor(DType dtype, const Shape& shape, uint64_t seed, double low, double high) {
    TestTensor t(dtype, shape);
    for (int64_t i = 0; i < t.n_elems(); ++i) {
        const Philox4 random = philox4x32(seed, 0, static_cast<uint64_t>(i));
        t.set(i, low + (high - low) * static_cast<double>(uniform(random.word[0])));
    }
    return t;
}

TestTensor tensor_of(DType dtype, const Shape& shape, const std::vector<double>& values) {
    TestTensor t(dtype, shape);
    REQUIRE(static_cast<int64_t>(values.size()) == t.n_elems());
    for (size_t i = 0; i < values.size(); ++i) t.set(static_cast<int64_t>(i), values[i]);
    return t;
}

std::vector<TestTensor> run_kernel(const KernelCase& c, CpuIsa isa, int n_threads) {
    std::vector<TestTensor> out = c.out;
    std::vector<TestTensor> in = c.in;
    const int64_t n_bytes = c.workspace ? c.workspace(n_threads) : 0;
    const TestTensor workspace(DType::u8, {n_bytes});
    std::vector<View> out_views = views_of(out), in_views = views_of(in);
    for (int i = 0; i < c.n_inout; ++i) in_views[static_cast<size_t>(i)] = out_views[static_cast<size_t>(i)];
    for (const auto& [i, view] : c.strided) {
        View& v = in_views[static_cast<size_t>(i)];
        v.shape = view.shape;
        v.strides = view.strides;
    }
    ThreadPool pool(n_threads);
    const CpuContext ctx{&pool};
    c.kernel[isa](ctx,
                  {out_views, in_views, &c.params, {workspace.view().as<std::byte>(), static_cast<size_t>(n_bytes)}});

    CHECK(workspace.guards_hold());
    for (const TestTensor& t : out) CHECK(t.guards_hold());
    for (size_t i = 0; i < in.size(); ++i) CHECK(in[i].same_bytes(c.in[i]));
    return out;
}

void check_kernel(const KernelCase& c, const std::vector<std::vector<double>>& expected, double tolerance) {
    CAPTURE(c.name);
    for (const CpuIsa isa : {CpuIsa::portable, CpuIsa::avx2, CpuIsa::avx512}) {
        if (isa > detect_cpu_isa()) continue;
        CAPTURE(std::string(name(isa)));
        const std::vector<TestTensor> got = run_kernel(c, isa, 1), threaded = run_kernel(c, isa, 3);
        for (size_t i = 0; i < got.size(); ++i) {
            CAPTURE(i);
            CHECK(got[i].same_bytes(threaded[i]));
            if (!expected[i].empty()) check_values(got[i], expected[i], tolerance);
        }
    }
}

double tolerance_of(DType dtype) {
    switch (dtype) {
        case DType::f64: return 1e-12;
        case DType::f32: return 2e-6;
        case DType::f16: return 6e-4;
        default: return 5e-3;
    }
}

}  // namespace ggq::test
