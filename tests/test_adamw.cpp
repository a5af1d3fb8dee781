// adamw against the formula in double and against torch's trace; adamw_8bit against bitsandbytes' trace and states.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "ggq/io/safetensors.h"
#include "kernels/code_maps.h"
#include "kernels/kernels.h"
#include "kernels/params.h"
#include "kernels/rounding.h"
#include "tests/fixtures.h"
#include "tests/kernel_check.h"

using namespace ggq;
using namespace ggq::test;

namespace {

using Values = std::vector<double>;

TestTensor scalar(DType dtype, double value) { return tensor_of(dtype, {1}, {value}); }

TestTensor zeros(DType dtype, int64_t n) { return tensor_of(dtype, {n}, Values(static_cast<size_t>(n))); }

TestTensor from_file(const FileTensor& t, int64_t row = 0) {
    const int64_t n = t.shape[t.shape.rank - 1];
    TestTensor tensor(t.dtype, {n});
    const auto* bytes = static_cast<const std::byte*>(t.data) + row * n * info(t.dtype).bytes;
    std::copy_n(bytes, n * info(t.dtype).bytes, tensor.view().as<std::byte>());
    return tensor;
}

KernelCase adamw_case(const std::vector<TestTensor>& state, const TestTensor& g, const AdamWParams& params, double lr,
                      int64_t step, double grad_factor, DType real) {
    KernelCase c{state.size() == 3 ? "adamw" : "adamw_8bit",
                 state.size() == 3 ? cpu::adamw : cpu::adamw_8bit,
                 state,
                 state,
                 params,
                 static_cast<int>(state.size())};
    c.in.push_back(g);
    c.in.push_back(scalar(real, lr));
    c.in.push_back(scalar(DType::i64, static_cast<double>(step)));
    c.in.push_back(scalar(real, grad_factor));
    return c;
}

// p, m, v after one step, from their old values.
std::vector<Values> adamw_reference(const KernelCase& c, const AdamWParams& params, double lr, int step,
                                    double grad_factor) {
    std::vector<Values> out = {c.in[0].values(), c.in[1].values(), c.in[2].values()};
    const double b1 = static_cast<double>(params.beta1), b2 = static_cast<double>(params.beta2);
    for (size_t i = 0; i < out[0].size(); ++i) {
        double &p = out[0][i], &m = out[1][i], &v = out[2][i];
        const double g = c.in[3].at(static_cast<int64_t>(i)) * grad_factor;
        p -= lr * static_cast<double>(params.weight_decay) * p;
        m = b1 * m + (1 - b1) * g;
        v = b2 * v + (1 - b2) * g * g;
        const double m_hat = m / (1 - std::pow(b1, step)), v_hat = v / (1 - std::pow(b2, step));
        p -= lr * m_hat / (std::sqrt(v_hat) + static_cast<double>(params.eps));
    }
    return out;
}

// Folders of golden/ that hold a file of that name.
std::vector<std::filesystem::path> golden_files(const std::string& file) {
    std::vector<std::filesystem::path> found;
    const auto root = fixtures();
    if (root && std::filesystem::is_directory(*root / "golden"))
        for (const auto& entry : std::filesystem::directory_iterator(*root / "golden"))
            if (std::filesystem::exists(entry.path() / file)) found.push_back(entry.path() / file);
    if (found.empty()) skipped("no folder of golden/ has " + file);
    return found;
}

// The settings are told in words in about.json, "lr 1e-3 betas 0.9 0.999 eps 1e-8 weight_decay 0.01".
struct GoldenSettings {
    double lr = 0;
    AdamWParams params;

    explicit GoldenSettings(const std::filesystem::path& file) {
        std::ifstream in(file.parent_path() / "about.json");
        const std::string text{std::istreambuf_iterator<char>(in), {}};
        const auto after = [&](const std::string& word) {
            const size_t at = text.find(" " + word + " ");
            REQUIRE(at != std::string::npos);
            return text.c_str() + at + 1 + word.size();
        };
        char* rest = nullptr;
        lr = std::strtod(after("lr"), nullptr);
        params.beta1 = std::strtof(after("betas"), &rest);
        params.beta2 = std::strtof(rest, nullptr);
        params.eps = std::strtof(after("eps"), nullptr);
        params.weight_decay = std::strtof(after("weight_decay"), nullptr);
    }
};

// Runs all steps of a golden trace, and calls check(step, state) after each.
template <typename F>
void run_trace(const SafetensorsFile& file, const GoldenSettings& settings, CpuIsa isa, std::vector<TestTensor> state,
               const F& check) {
    const FileTensor& gradients = file.at("grads");
    for (int64_t step = 0; step < gradients.shape[0]; ++step) {
        state = run_kernel(
            adamw_case(state, from_file(gradients, step), settings.params, settings.lr, step + 1, 1, DType::f32), isa,
            2);
        check(step, state);
    }
}

// How many codes differ, none by more than one.
int n_codes_off(const TestTensor& got, const TestTensor& expected) {
    int n = 0;
    for (int64_t i = 0; i < got.n_elems(); ++i) {
        const double off = std::abs(got.at(i) - expected.at(i));
        CHECK(off <= 1);
        n += off > 0;
    }
    return n;
}

}  // namespace

TEST_CASE("adamw is the formula, at odd lengths, with a clipped gradient") {
    const AdamWParams params{0.9f, 0.95f, 1e-6f, 0.1f};
    for (DType real : {DType::f32, DType::f64})
        for (int64_t n : {1, 257, 16385})
            for (int step : {1, 2, 1000}) {
                const std::vector<TestTensor> state = {random_tensor(real, {n}, 1), random_tensor(real, {n}, 2),
                                                       random_tensor(real, {n}, 3, 0, 1)};
                const KernelCase c = adamw_case(state, random_tensor(real, {n}, 4), params, 0.02, step, 0.3, real);
                const double grad_factor = c.in.back().at(0), lr = c.in[4].at(0);
                check_kernel(c, adamw_reference(c, params, lr, step, grad_factor), tolerance_of(real));
            }
}

TEST_CASE("adamw rounds a bf16 parameter and keeps float moments") {
    const AdamWParams params{0.9f, 0.999f, 1e-8f, 0};
    const int64_t n = 1021;
    const std::vector<TestTensor> state = {random_tensor(DType::bf16, {n}, 1), random_tensor(DType::f32, {n}, 2),
                                           random_tensor(DType::f32, {n}, 3, 0, 1)};
    const KernelCase c = adamw_case(state, random_tensor(DType::f32, {n}, 4), params, 0.05, 3, 1, DType::f32);
    std::vector<Values> expected = adamw_reference(c, params, c.in[4].at(0), 3, 1);
    check_kernel(c, {{}, expected[1], expected[2]}, tolerance_of(DType::f32));
    check_kernel(c, {expected[0], {}, {}}, 0.5 / 128 + 1e-6);
}

TEST_CASE("adamw_8bit keeps codes and absmax of what the formula gives, with a short last block") {
    const AdamWParams params{0.9f, 0.99f, 1e-8f, 0.1f};
    for (int64_t n : {1, 255, 256, 3001, 40000})
        for (DType stored : {DType::f32, DType::bf16}) {
            const int64_t n_blocks = ceil_div(n, kStateBlock);
            const std::vector<TestTensor> state = {
                random_tensor(stored, {n}, 1), random_tensor(DType::u8, {n}, 2, 0, 256),
                random_tensor(DType::u8, {n}, 3, 0, 256), random_tensor(DType::f32, {n_blocks}, 4, 0.1, 1),
                random_tensor(DType::f32, {n_blocks}, 5, 0.1, 1)};
            const KernelCase c = adamw_case(state, random_tensor(DType::f32, {n}, 6), params, 0.01, 7, 0.5, DType::f32);
            check_kernel(c, {{}, {}, {}, {}, {}}, 0);

            const double lr = c.in[6].at(0), c1 = 1 - std::pow(static_cast<double>(params.beta1), 7),
                         c2 = std::sqrt(1 - std::pow(static_cast<double>(params.beta2), 7));
            Values p(static_cast<size_t>(n)), m = p, v = p, m_top(static_cast<size_t>(n_blocks)), v_top = m_top;
            for (size_t i = 0; i < p.size(); ++i) {
                const auto at = static_cast<int64_t>(i);
                const double g = 0.5 * c.in[5].at(at), b1 = static_cast<double>(params.beta1),
                             b2 = static_cast<double>(params.beta2);
                const auto m_code = static_cast<size_t>(c.in[1].at(at)), v_code = static_cast<size_t>(c.in[2].at(at));
                m[i] = b1 * static_cast<double>(kSignedMap[m_code]) * c.in[3].at(at / 256) + (1 - b1) * g;
                v[i] = b2 * static_cast<double>(kUnsignedMap[v_code]) * c.in[4].at(at / 256) + (1 - b2) * g * g;
                m_top[i / 256] = std::max(m_top[i / 256], std::abs(m[i]));
                v_top[i / 256] = std::max(v_top[i / 256], v[i]);
                p[i] = c.in[0].at(at) - lr * c2 / c1 * m[i] / (std::sqrt(v[i]) + 1e-8 * c2);
                p[i] *= 1 - lr * static_cast<double>(params.weight_decay);
            }
            check_kernel(c, {p, {}, {}, m_top, v_top}, stored == DType::bf16 ? 0.5 / 128 + 1e-5 : 1e-5);
            // Each code is the nearest one, but for ties within float rounding.
            const std::vector<TestTensor> out = run_kernel(c, CpuIsa::portable, 1);
            for (size_t i = 0; i < p.size(); ++i) {
                const auto is_nearest = [&](const std::array<float, 256>& map, double code, double x) {
                    double best = 9;
                    for (float value : map) best = std::min(best, std::abs(static_cast<double>(value) - x));
                    return std::abs(static_cast<double>(map[static_cast<size_t>(code)]) - x) <= best + 1e-6;
                };
                const auto at = static_cast<int64_t>(i);
                CHECK(is_nearest(kSignedMap, out[1].at(at), m[i] / m_top[i / 256]));
                CHECK(is_nearest(kUnsignedMap, out[2].at(at), v[i] / v_top[i / 256]));
            }
        }
}

TEST_CASE("adamw_8bit of a block without gradient stays zero") {
    const std::vector<TestTensor> state = {random_tensor(DType::f32, {300}, 1), zeros(DType::u8, 300),
                                           zeros(DType::u8, 300), zeros(DType::f32, 2), zeros(DType::f32, 2)};
    const KernelCase c = adamw_case(state, zeros(DType::f32, 300), {}, 0.1, 1, 1, DType::f32);
    check_kernel(c, {state[0].values(), {}, {}, {0, 0}, {0, 0}}, 0);
    const std::vector<TestTensor> out = run_kernel(c, CpuIsa::portable, 1);
    for (int64_t i = 0; i < 300; ++i) {
        CHECK(kSignedMap[static_cast<size_t>(out[1].at(i))] == 0);
        CHECK(kUnsignedMap[static_cast<size_t>(out[2].at(i))] == 0);
    }
}

TEST_CASE("gradients that overflowed change nothing") {
    constexpr int64_t kElems = 300;
    const TestTensor p = random_tensor(DType::f32, {kElems}, 1), g = random_tensor(DType::f32, {kElems}, 2);
    const TestTensor codes = tensor_of(DType::u8, {kElems}, Values(kElems, 200)),
                     scales = random_tensor(DType::f32, {2}, 3);
    for (const auto& state : {std::vector<TestTensor>{p, random_tensor(DType::f32, {kElems}, 4),
                                                      random_tensor(DType::f32, {kElems}, 5, 0, 1)},
                              std::vector<TestTensor>{p, codes, codes, scales, scales}})
        for (double factor : {NAN, INFINITY}) {
            const std::vector<TestTensor> after =
                run_kernel(adamw_case(state, g, {}, 1e-2, 3, factor, DType::f32), detect_cpu_isa(), 1);
            for (size_t i = 0; i < state.size(); ++i) CHECK(after[i].same_bytes(state[i]));
        }
}

TEST_CASE("golden: adamw follows torch's trace") {
    for (const auto& path : golden_files("adamw32.safetensors")) {
        const SafetensorsFile file(path);
        const GoldenSettings settings(path);
        const TestTensor p = from_file(file.at("p0"));
        for (const CpuIsa isa : {CpuIsa::portable, detect_cpu_isa()}) {
            double worst = 0;
            run_trace(file, settings, isa, {p, zeros(DType::f32, p.n_elems()), zeros(DType::f32, p.n_elems())},
                      [&](int64_t step, const std::vector<TestTensor>& state) {
                          const TestTensor expected = from_file(file.at("trace"), step);
                          for (int64_t i = 0; i < p.n_elems(); ++i)
                              worst = std::max(worst, std::abs(state[0].at(i) - expected.at(i)));
                      });
            CHECK(worst <= 1e-6);
        }
    }
}

TEST_CASE("golden: adamw_8bit follows bitsandbytes' trace") {
    for (const auto& path : golden_files("adamw8.safetensors")) {
        const SafetensorsFile file(path);
        const GoldenSettings settings(path);
        const TestTensor p = from_file(file.at("p0"));
        const int64_t n = p.n_elems(), n_blocks = ceil_div(n, kStateBlock);
        for (int64_t c = 0; c < 256; ++c) {
            CHECK(from_file(file.at("qmap1")).at(c) == static_cast<double>(kSignedMap[static_cast<size_t>(c)]));
            CHECK(from_file(file.at("qmap2")).at(c) == static_cast<double>(kUnsignedMap[static_cast<size_t>(c)]));
        }
        for (const CpuIsa isa : {CpuIsa::portable, detect_cpu_isa()}) {
            double worst = 0;
            int64_t n_far = 0;
            std::vector<TestTensor> last;
            run_trace(
                file, settings, isa,
                {p, zeros(DType::u8, n), zeros(DType::u8, n), zeros(DType::f32, n_blocks), zeros(DType::f32, n_blocks)},
                [&](int64_t step, const std::vector<TestTensor>& state) {
                    const TestTensor expected = from_file(file.at("trace"), step);
                    for (int64_t i = 0; i < n; ++i) {
                        const double error = std::abs(state[0].at(i) - expected.at(i));
                        worst = std::max(worst, error);
                        n_far += error > 1e-6;
                    }
                    last = state;
                });
            CHECK(worst <= 2e-4);
            CHECK(n_far * 1000 <= n * file.at("grads").shape[0]);
            CHECK(n_codes_off(last[1], from_file(file.at("state1"))) +
                      n_codes_off(last[2], from_file(file.at("state2"))) <=
                  5);
        }
    }
}
