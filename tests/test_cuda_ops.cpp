// Every op at every case of the table on a GPU: in float against the CPU, in 16 bits against a reference that rounds
// the same inputs and outputs, in guarded and poisoned memory, and twice. Gradients ride along in each of them.
#include <doctest/doctest.h>

#include <cmath>

#include "ggq/device.h"
#include "ggq/ops.h"
#include "models/initial_values.h"
#include "tests/case_run.h"
#include "tests/compare.h"
#include "tests/emulated_backend.h"
#include "tests/file_checks.h"
#include "tests/fixtures.h"
#include "tests/gpu.h"
#include "tests/guarded_backend.h"

namespace ggq::test {

namespace {

using In = const std::vector<Tensor>&;

double relative_error(const std::vector<double>& actual, const std::vector<double>& expected) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
        error += (actual[i] - expected[i]) * (actual[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    return norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
}

std::vector<OpCase> gpu_cases() {
    std::vector<OpCase> cases = op_cases();
    cases.insert(cases.end(), large_op_cases().begin(), large_op_cases().end());
    std::erase_if(cases, [](const OpCase& c) { return c.with_double; });
    return cases;
}

// Its computing type first; a card without bf16 computes in f16.
std::vector<DType> half_types(const Backend& gpu) {
    if (gpu.compute_dtype() == DType::bf16) return {DType::bf16, DType::f16};
    skipped("this GPU has no bf16");
    return {DType::f16};
}

bool is_float(DType dtype) { return info(dtype).floating; }

std::vector<Result> results(const OpCase& c, Backend& backend, DType real, DType rounding = DType::f64,
                            bool twin = false) {
    return CaseRun(c, backend, {.real = real, .twin = twin, .gradients = true, .rounding = rounding}).run();
}

// Codes may differ by one where values fall on either side of a midpoint.
void check_codes(const Result& actual, const Result& expected) {
    size_t n_off = 0;
    for (size_t i = 0; i < actual.bytes.size(); ++i) {
        const int off = std::abs(static_cast<int>(actual.bytes[i]) - static_cast<int>(expected.bytes[i]));
        n_off += off > 0;
        CHECK(off <= 1);
    }
    CHECK(n_off <= actual.bytes.size() / 1000 + 1);
}

// The codes of 8-bit moments are equal to within one, other integers to the bit.
void check_against_cpu(const OpCase& c, const std::vector<Result>& actual, const std::vector<Result>& expected) {
    REQUIRE(actual.size() == expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
        CAPTURE(actual[i].name);
        if (is_float(actual[i].dtype))
            CHECK_EQ(difference(actual[i].values(), expected[i].values(), 1e-5, c.floor), "");
        else if (actual[i].dtype == DType::u8) check_codes(actual[i], expected[i]);
        else CHECK(actual[i].bytes == expected[i].bytes);
    }
}

// Fewer elements make no average: there the reference's error can be next to nothing by luck.
constexpr size_t kEnoughToAverage = 64;

void check_16_bit(const OpCase& c, DType dtype, Backend& gpu) {
    EmulatedBackend emulated;
    const std::vector<Result> actual = results(c, gpu, dtype, dtype), reference = results(c, emulated, dtype, dtype);
    REQUIRE(actual.size() == reference.size());
    std::vector<Result> exact, composed;
    const auto cpu = make_cpu_backend(1);
    if (c.rounds_operand) composed = results(c, emulated, dtype, dtype, true);
    if (!c.only_float) exact = results(c, *cpu, DType::f64, dtype);
    for (size_t i = 0; i < actual.size(); ++i) {
        CAPTURE(actual[i].name);
        if (!is_float(actual[i].dtype)) continue;
        const std::vector<double> values = actual[i].values(), expected = reference[i].values();
        CHECK_EQ(difference(values, expected, 1e-2, c.floor, 5e-2, c.outliers), "");
        if (c.only_float || !is_float(exact[i].dtype) || values.size() < kEnoughToAverage) continue;
        const std::vector<double> truth = exact[i].values();
        const double ours = relative_error(values, truth);
        double theirs = relative_error(expected, truth);
        if (c.rounds_operand) theirs = std::max(theirs, relative_error(composed[i].values(), truth));
        INFO("error ", ours, ", that of rounding ", theirs);
        CHECK(ours <= 2 * theirs + 1e-5);
    }
}

// x w^T of normal numbers in float, of a size that cuBLAS takes in any mode.
std::vector<double> product_of(Backend& backend) {
    constexpr int64_t kSide = 256;
    const std::vector<float> x = normal_values(kSide * kSide, 1, 1, "x"), w = normal_values(kSide * kSide, 1, 2, "w");
    const TensorType type{DType::f32, {kSide, kSide}, {}};
    return to_doubles(DType::f32, run_once(backend, "product", {{type, x.data()}, {type, w.data()}},
                                           [](In in) { return matmul(in[0], in[1]); }));
}

// All parts of a quantized tensor of normal numbers, a block of zeros and midpoints between levels among them.
std::vector<std::byte> quantized_bytes(Backend& backend, const Shape& shape, DType dtype, QuantSpec spec, double size) {
    std::vector<float> values = normal_values(shape.n_elems(), size, 3, "quantize");
    for (size_t i = 256; i < std::min<size_t>(values.size(), 512); ++i) values[i] = 0;
    for (size_t i = 512; i < std::min<size_t>(values.size(), 1024); ++i)
        values[i] = static_cast<float>(static_cast<double>(static_cast<int>(i % 64) - 32) / 32 * size);
    return run_once(backend, "quantize", {{{DType::f32, shape, {}}, values.data()}},
                    [&](In in) { return quantize(in[0], dtype, spec); });
}

}  // namespace

TEST_CASE("gpu: every op agrees with the CPU in float") {
    Backend* gpu = require_gpu();
    if (!gpu) return;
    const auto cpu = make_cpu_backend(1);
    for (const OpCase& c : gpu_cases()) {
        CAPTURE(c.name);
        check_against_cpu(c, results(c, *gpu, DType::f32), results(c, *cpu, DType::f32));
    }
}

TEST_CASE("gpu: every op in bf16 and f16 is as exact as rounding allows") {
    Backend* gpu = require_gpu();
    if (!gpu) return;
    for (DType dtype : half_types(*gpu)) {
        INFO("in ", std::string(name(dtype)));
        for (const OpCase& c : gpu_cases()) {
            CAPTURE(c.name);
            check_16_bit(c, dtype, *gpu);
        }
    }
}

TEST_CASE("gpu: products are right without cuBLAS") {
    Backend* gpu = require_gpu();
    if (!gpu) return;
    const auto own = make_backend({.device = "cuda", .cublas = false}), cpu = make_cpu_backend(1);
    check_contains(own->description(), "no cuBLAS");
    for (const OpCase& c : gpu_cases()) {
        const std::string_view op = c.op->name;
        if (op.find("matmul") == op.npos && op.find("linear") == op.npos) continue;
        CAPTURE(c.name);
        check_against_cpu(c, results(c, *own, DType::f32), results(c, *cpu, DType::f32));
        for (DType dtype : half_types(*gpu)) check_16_bit(c, dtype, *own);
    }
}

// The ops that a choice among kernels concerns.
bool concerns(const cuda::TuningRow& row, const OpCase& c) {
    const std::string_view choice = row.name;
    if (choice.starts_with("attention")) return c.name.starts_with("attention");
    return c.name.starts_with(choice == "dequantize" ? "dequantize" : "quant_matmul");
}

TEST_CASE("gpu: every value of every choice among kernels computes the same") {
    Backend* gpu = require_gpu();
    if (!gpu) return;
    for (const cuda::TuningRow& row : cuda::kTuningRows)
        for (int value : row.all()) {
            cuda::Tuning tuning;
            if (tuning.*row.value == value) continue;
            tuning.*row.value = value;
            INFO(row.name, " ", value);
            const auto tuned = make_backend({.device = "cuda", .tuning = tuning});
            for (const OpCase& c : gpu_cases()) {
                CAPTURE(c.name);
                if (concerns(row, c)) check_16_bit(c, gpu->compute_dtype(), *tuned);
            }
        }
}

TEST_CASE("gpu: products in float round their factors to TF32 on request, and only then") {
    Backend* gpu = require_gpu();
    if (!gpu) return;
    const auto rounding = make_backend({.device = "cuda", .tf32 = true});
    if (rounding->description().find("no cuBLAS") != std::string::npos) return skipped("no cuBLAS");
    const std::vector<double> exact = product_of(*make_cpu_backend(1));
    CHECK(relative_error(product_of(*gpu), exact) < 1e-6);
    const double error = relative_error(product_of(*rounding), exact);
    CHECK(error > 1e-5);
    CHECK(error < 1e-3);
}

TEST_CASE("gpu: quantizing gives the CPU's codes, scales, nested scales and offset to the bit") {
    Backend* gpu = require_gpu();
    if (!gpu) return;
    const auto cpu = make_cpu_backend(1);
    for (const Shape& shape : {Shape{1}, Shape{3, 43}, Shape{5, 64}, Shape{131, 257}, Shape{300, 1024}})
        for (DType dtype : {DType::nf4, DType::fp4, DType::int8})
            for (int block : {64, 128, 256})
                for (bool twice : {false, true}) {
                    const QuantSpec spec = dtype == DType::int8 ? QuantSpec{} : QuantSpec{block, twice};
                    for (double size : {1e-30, 1.0, 1e30}) {
                        CAPTURE(to_string(shape));
                        CAPTURE(std::string(name(dtype)));
                        CAPTURE(block);
                        CAPTURE(size);
                        CHECK(quantized_bytes(*gpu, shape, dtype, spec, size) ==
                              quantized_bytes(*cpu, shape, dtype, spec, size));
                    }
                }
}

TEST_CASE("gpu: outputs are written whole and nothing else is, in poisoned memory, with the same bits twice") {
    Backend* gpu = require_gpu();
    if (!gpu) return;
    GuardedBackend guarded(make_backend({.device = "cuda"}));
    std::vector<DType> dtypes = half_types(*gpu);
    dtypes.push_back(DType::f32);
    for (DType dtype : dtypes) {
        INFO("in ", std::string(name(dtype)));
        for (const OpCase& c : gpu_cases()) {
            CAPTURE(c.name);
            const std::vector<Result> once = results(c, *gpu, dtype, dtype), again = results(c, guarded, dtype, dtype);
            for (size_t i = 0; i < once.size(); ++i) {
                CAPTURE(once[i].name);
                CHECK(once[i].bytes == again[i].bytes);
            }
        }
    }
}

}  // namespace ggq::test
