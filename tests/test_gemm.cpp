// Products on every instruction set against plain loops in double: matmul, quant_matmul and lora_linear with their
// gradients, dropout, linear_cross_entropy. Shapes lie around vector, tile and block sizes; guard bytes lie around
// every output and workspace.
#include <algorithm>
#include <numeric>

#include "kernels/cpu/workspace.h"
#include "kernels/kernels.h"
#include "kernels/params.h"
#include "kernels/philox.h"
#include "tests/kernel_buffers.h"

using namespace ggq;
using namespace ggq::test;

namespace {

using Values = std::vector<double>;

ThreadPool& pool() {
    static ThreadPool threads(2);
    return threads;
}

DType real_type(int64_t bytes) { return bytes == 8 ? DType::f64 : DType::f32; }
double rounding(int64_t real_bytes) { return real_bytes == 8 ? 1e-13 : 1e-5; }

// [m,n] = a[m,k] b[n,k]^T
Values product_nt(const Values& a, const Values& b, int64_t m, int64_t n, int64_t k) {
    Values y(static_cast<size_t>(m * n));
    for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j)
            y[static_cast<size_t>(i * n + j)] =
                std::inner_product(a.begin() + i * k, a.begin() + (i + 1) * k, b.begin() + j * k, 0.0);
    return y;
}

Values transpose(const Values& a, int64_t rows, int64_t cols) {
    Values t(a.size());
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < cols; ++j) t[static_cast<size_t>(j * rows + i)] = a[static_cast<size_t>(i * cols + j)];
    return t;
}

Values plus(Values a, const Values& b, double factor = 1) {
    for (size_t i = 0; i < a.size(); ++i) a[i] += factor * b[i];
    return a;
}

void check_matmul(const Matrix& x, const Matrix& w, int64_t real_bytes) {
    const int64_t m = x.rows(), n = w.rows(), k = x.cols();
    const Values wanted = product_nt(x.value, w.value, m, n, k);
    for (CpuIsa isa : machine_isas()) {
        CAPTURE(m);
        CAPTURE(n);
        CAPTURE(k);
        CAPTURE(name(isa));
        const Matrix y(real_type(real_bytes), m, n);
        Call{cpu::matmul, {y.view}, {x.view, w.view}, {}, cpu::matmul_workspace(m, k, pool().size(), real_bytes)}.run(
            isa, pool());
        check_close(y.view, wanted, 0);  // every sum is exact
        CHECK(y.buffer.guards_intact());
    }
}

struct Stored {
    DType dtype;
    Order order;
};

}  // namespace

TEST_CASE("matmul equals plain loops at all small shapes, types and strides") {
    constexpr Stored kStored[] = {{DType::f32, Order::rows},   {DType::f32, Order::columns}, {DType::bf16, Order::rows},
                                  {DType::f32, Order::sparse}, {DType::f16, Order::columns}, {DType::f64, Order::rows},
                                  {DType::bf16, Order::sparse}};
    const int64_t sizes[] = {1, 2, 3, 5, 7, 13, 31, 33, 64, 65, 129};
    size_t turn = 0;
    for (int64_t m : sizes)
        for (int64_t n : sizes)
            for (int64_t k : sizes) {
                const Stored &of_x = kStored[turn % 7], &of_w = kStored[(turn / 7 + turn) % 7];
                check_matmul(random_matrix(of_x.dtype, m, k, of_x.order), random_matrix(of_w.dtype, n, k, of_w.order),
                             turn % 3 == 0 ? 8 : 4);
                ++turn;
            }
}

TEST_CASE("matmul equals plain loops across its blocks") {
    for (int64_t real_bytes : {4, 8}) {
        check_matmul(random_matrix(DType::f32, 791, 400), random_matrix(DType::f32, 257, 400), real_bytes);
        check_matmul(random_matrix(DType::f32, 17, 1025), random_matrix(DType::bf16, 31, 1025, Order::columns),
                     real_bytes);
        check_matmul(random_matrix(DType::f32, 3, 1100), random_matrix(DType::f16, 150, 1100), real_bytes);
    }
}

TEST_CASE("a product over nothing is zero, and no rows or columns are fine") {
    check_matmul(random_matrix(DType::f32, 20, 0), random_matrix(DType::f32, 5, 0), 4);
    check_matmul(random_matrix(DType::f32, 2, 0), random_matrix(DType::f32, 5, 0), 4);
    check_matmul(random_matrix(DType::f32, 0, 8), random_matrix(DType::f32, 5, 8), 4);
    check_matmul(random_matrix(DType::f32, 9, 8), random_matrix(DType::f32, 0, 8), 4);
}

namespace {

struct Format {
    DType dtype;
    QuantSpec spec;
};

constexpr Format kAllFormats[] = {{DType::nf4, {64, true}},  {DType::nf4, {64, false}}, {DType::nf4, {128, true}},
                                  {DType::nf4, {256, true}}, {DType::fp4, {64, true}},  {DType::fp4, {128, false}},
                                  {DType::int8, {}}};

// Random weights in a format, with their restored values.
Matrix quantized_matrix(const Format& f, int64_t rows, int64_t cols) {
    Matrix plain = random_matrix(DType::f32, rows, cols), q(f.dtype, rows, cols, Order::rows, f.spec);
    Call{cpu::quantize,
         {q.view},
         {plain.view},
         {},
         cpu::quantize_workspace(f.dtype, rows * cols, f.spec.block, f.spec.double_quant)}
        .run(CpuIsa::portable, pool());
    Call{cpu::dequantize, {plain.view}, {q.view}}.run(CpuIsa::portable, pool());
    q.value = values(plain.view);
    CHECK(q.buffer.guards_intact());
    return q;
}

void check_quant_matmul(const Format& f, int64_t m, int64_t n, int64_t k, int64_t real_bytes) {
    CAPTURE(name(f.dtype));
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(k);
    const Matrix w = quantized_matrix(f, n, k), x = random_matrix(real_type(real_bytes), m, k);
    const Matrix dy = random_matrix(real_type(real_bytes), m, n);
    const Values y_wanted = product_nt(x.value, w.value, m, n, k);
    const Values dx_wanted = product_nt(dy.value, transpose(w.value, n, k), m, k, n);
    for (CpuIsa isa : machine_isas()) {
        CAPTURE(name(isa));
        const Matrix y(real_type(real_bytes), m, n), dx(real_type(real_bytes), m, k);
        Call{cpu::quant_matmul, {y.view}, {x.view, w.view}, {}, cpu::matmul_workspace(m, k, 2, real_bytes)}.run(isa,
                                                                                                                pool());
        Call{cpu::linear_input_gradient,
             {dx.view},
             {dy.view, w.view},
             {},
             cpu::linear_input_gradient_workspace(m, n, 2, real_bytes)}
            .run(isa, pool());
        check_close(y.view, y_wanted, rounding(real_bytes));
        check_close(dx.view, dx_wanted, rounding(real_bytes));
        CHECK(y.buffer.guards_intact());
        CHECK(dx.buffer.guards_intact());
    }
}

}  // namespace

TEST_CASE("quant_matmul and its gradient equal the product with the restored weight") {
    const int64_t shapes[][3] = {{1, 1, 1},    {1, 5, 64},   {2, 33, 65},   {3, 7, 129},   {4, 64, 128}, {5, 31, 256},
                                 {1, 40, 512}, {8, 13, 384}, {9, 130, 127}, {31, 65, 192}, {33, 3, 13},  {64, 33, 70}};
    for (const Format& f : kAllFormats)
        for (const auto& s : shapes)
            for (int64_t real_bytes : {4, 8}) check_quant_matmul(f, s[0], s[1], s[2], real_bytes);
}

namespace {

// Row 0 of x w^T for m rows of x.
std::vector<float> first_row(CpuIsa isa, const Matrix& x, const Matrix& w, int64_t m) {
    const int64_t n = w.rows(), k = w.cols();
    View rows = x.view;
    rows.shape[0] = m;
    const Matrix y(DType::f32, m, n);
    const CpuKernel& kernel = info(w.view.dtype).quantized ? cpu::quant_matmul : cpu::matmul;
    Call{kernel, {y.view}, {rows, w.view}, {}, cpu::matmul_workspace(m, k, 2, 4)}.run(isa, pool());
    CHECK(y.buffer.guards_intact());
    return {y.view.as<float>(), y.view.as<float>() + n};
}

}  // namespace

TEST_CASE("few rows: the bits of a row do not depend on how many stand beside it, and long rows go in pieces") {
    for (int64_t k : {192, 4160, 16448}) {
        std::vector<Matrix> weights;
        for (const Format& f : kAllFormats) weights.push_back(quantized_matrix(f, 7, k));
        for (DType dtype : {DType::bf16, DType::f16, DType::f32}) weights.push_back(random_matrix(dtype, 7, k - 3));
        for (const Matrix& w : weights) {
            const Matrix x = random_matrix(DType::f32, 16, w.cols());
            const Values wanted = product_nt(x.value, w.value, 1, 7, w.cols());
            CAPTURE(name(w.view.dtype));
            CAPTURE(k);
            for (CpuIsa isa : machine_isas()) {
                CAPTURE(name(isa));
                const std::vector<float> alone = first_row(isa, x, w, 1);
                for (size_t i = 0; i < alone.size(); ++i)
                    CHECK(static_cast<double>(alone[i]) == doctest::Approx(wanted[i]).epsilon(1e-4).scale(100));
                for (int64_t m : {2, 3, 4, 7}) CHECK(first_row(isa, x, w, m) == alone);
            }
        }
    }
}

namespace {

// 0 or 1 / (1 - p), from the definition.
Values mask_factors(const int64_t* rng, const DropoutParams& params, int64_t n) {
    Values factors;
    for (int64_t i = 0; i < n; ++i) {
        const uint64_t stream = static_cast<uint64_t>(rng[1]) << 32 | params.site;
        const Philox4 r = philox4x32(static_cast<uint64_t>(rng[0]), stream, static_cast<uint64_t>(i) / 8);
        const bool stays = half(r, static_cast<int>(i % 8)) >= std::lround(static_cast<double>(params.p) * 65536);
        factors.push_back(stays ? 1 / (1 - static_cast<double>(params.p)) : 0);
    }
    return factors;
}

Values times(Values a, const Values& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] *= b[i];
    return a;
}

constexpr int64_t kRng[2] = {0x123456789abcdef, 77};
View rng_view() { return make_view(const_cast<int64_t*>(kRng), DType::i64, {2}); }

struct LoraCase {
    int64_t m, n, k, r;
    float p;
    const Format* format;  // null: bf16
    int64_t real_bytes;
};

void check_lora(const LoraCase& c) {
    CAPTURE(c.m);
    CAPTURE(c.n);
    CAPTURE(c.k);
    CAPTURE(c.r);
    CAPTURE(c.p);
    const DType real = real_type(c.real_bytes);
    const DropoutParams params{c.p, 9};
    const ScaleParams scaling{0.75};
    const Matrix x = random_matrix(real, c.m, c.k), dy = random_matrix(real, c.m, c.n);
    const Matrix w = c.format ? quantized_matrix(*c.format, c.n, c.k) : random_matrix(DType::bf16, c.n, c.k);
    const Matrix a = random_matrix(DType::f32, c.r, c.k), b = random_matrix(DType::bf16, c.n, c.r);
    const Values factors = mask_factors(kRng, params, c.m * c.k), dropped = times(x.value, factors);
    const Values xa = product_nt(dropped, a.value, c.m, c.r, c.k);
    const Values y = plus(product_nt(x.value, w.value, c.m, c.n, c.k), product_nt(xa, b.value, c.m, c.n, c.r), 0.75);
    Values dxa = product_nt(dy.value, transpose(b.value, c.n, c.r), c.m, c.r, c.n);
    for (double& v : dxa) v *= 0.75;
    Values db = product_nt(transpose(dy.value, c.m, c.n), transpose(xa, c.m, c.r), c.n, c.r, c.m);
    for (double& v : db) v *= 0.75;
    const Values da = product_nt(transpose(dxa, c.m, c.r), transpose(dropped, c.m, c.k), c.r, c.k, c.m);
    const Values dx = plus(product_nt(dy.value, transpose(w.value, c.n, c.k), c.m, c.k, c.n),
                           times(product_nt(dxa, transpose(a.value, c.r, c.k), c.m, c.k, c.r), factors));
    for (CpuIsa isa : machine_isas()) {
        CAPTURE(name(isa));
        const Matrix got_y(real, c.m, c.n), got_xa(real, c.m, c.r), got_dxa(real, c.m, c.r);
        const Matrix got_da(real, c.r, c.k), got_db(real, c.n, c.r), got_dx(real, c.m, c.k);
        const auto run = [&](const CpuKernel& kernel, std::vector<View> out, std::vector<View> in,
                             const ParamBlock& block, int64_t m, int64_t k) {
            const int64_t workspace = cpu::product_workspace(m, k, 2, 2, c.real_bytes);
            Call{kernel, std::move(out), std::move(in), block, workspace}.run(isa, pool());
        };
        run(cpu::lora_down, {got_xa.view}, {x.view, rng_view(), a.view}, params, c.m, c.k);
        run(cpu::lora_linear, {got_y.view}, {x.view, w.view, got_xa.view, b.view}, scaling, c.m, c.k + c.r);
        run(cpu::lora_linear_backward, {got_dxa.view, got_db.view}, {dy.view, got_xa.view, b.view}, scaling,
            std::max(c.m, c.n), std::max(c.m, c.n));
        run(cpu::lora_down_backward, {got_da.view}, {x.view, rng_view(), got_dxa.view}, params, c.r, c.m);
        run(cpu::linear_input_gradient, {got_dx.view}, {dy.view, w.view}, {}, c.m, c.n);
        run(cpu::lora_down_input_gradient, {got_dx.view}, {got_dx.view, rng_view(), a.view, got_dxa.view}, params, c.m,
            c.r);
        const std::pair<const Matrix*, const Values*> outputs[] = {
            {&got_y, &y}, {&got_xa, &xa}, {&got_da, &da}, {&got_db, &db}, {&got_dx, &dx}};
        for (const auto& [got, wanted] : outputs) {
            check_close(got->view, *wanted, c.real_bytes == 8 ? 1e-7 : 2e-5);  // p is a float
            CHECK(got->buffer.guards_intact());
        }
    }
}

}  // namespace

TEST_CASE("lora_linear and its gradients equal the composed products, with and without dropout") {
    for (int64_t real_bytes : {4, 8})
        for (float p : {0.0f, 0.3f})
            for (const Format* f : {static_cast<const Format*>(nullptr), &kAllFormats[0], &kAllFormats[6]}) {
                check_lora({1, 33, 64, 4, p, f, real_bytes});
                check_lora({3, 65, 129, 5, p, f, real_bytes});
                check_lora({33, 7, 70, 16, p, f, real_bytes});
                check_lora({67, 129, 400, 1, p, f, real_bytes});
            }
}

TEST_CASE("dropout keeps what its definition keeps") {
    const DropoutParams params{0.25f, 3};
    for (int64_t n : {1, 3, 64, 67, 50001}) {
        const Matrix x = random_matrix(DType::f32, 1, n);
        const Values wanted = times(x.value, mask_factors(kRng, params, n));
        for (CpuIsa isa : machine_isas()) {
            const Matrix y(DType::f32, 1, n);
            Call{cpu::dropout, {y.view}, {x.view, rng_view()}, params}.run(isa, pool());
            check_close(y.view, wanted, 1e-7);
            CHECK(y.buffer.guards_intact());
        }
    }
    const Values factors = mask_factors(kRng, params, 100000);
    const auto n_kept = std::count_if(factors.begin(), factors.end(), [](double f) { return f > 0; });
    CHECK(std::abs(static_cast<double>(n_kept) - 75000) < 700);  // five standard deviations
}

namespace {

struct HeadValues {
    double loss = 0;
    Values dx, dw;
};

HeadValues head_by_hand(const Matrix& x, const Matrix& w, const std::vector<int32_t>& labels) {
    const int64_t n_rows = x.rows(), channels = x.cols(), vocabulary = w.rows();
    Values g = product_nt(x.value, w.value, n_rows, vocabulary, channels);
    HeadValues h;
    for (int64_t t = 0; t < n_rows; ++t) {
        double* row = g.data() + t * vocabulary;
        const int32_t label = labels[static_cast<size_t>(t)];
        double sum = 0;
        for (int64_t v = 0; v < vocabulary; ++v) sum += std::exp(row[v]);
        if (label != kIgnoredLabel) h.loss += std::log(sum) - row[label];
        for (int64_t v = 0; v < vocabulary; ++v)
            row[v] = label == kIgnoredLabel ? 0 : std::exp(row[v]) / sum - (v == label ? 1 : 0);
    }
    h.dx = product_nt(g, transpose(w.value, vocabulary, channels), n_rows, channels, vocabulary);
    h.dw = product_nt(transpose(g, n_rows, vocabulary), transpose(x.value, n_rows, channels), vocabulary, channels,
                      n_rows);
    return h;
}

void check_head(int64_t n_rows, int64_t channels, int64_t vocabulary, int32_t chunk, int ignored_of_three,
                int64_t real_bytes) {
    const DType real = real_type(real_bytes);
    const Matrix x = random_matrix(real, n_rows, channels), w = random_matrix(DType::bf16, vocabulary, channels);
    std::vector<int32_t> labels;
    for (int64_t t = 0; t < n_rows; ++t)
        labels.push_back(t % 3 < ignored_of_three ? kIgnoredLabel : static_cast<int32_t>(t * 7 % vocabulary));
    const View label_view = make_view(labels.data(), DType::i32, {n_rows});
    const HeadValues wanted = head_by_hand(x, w, labels);
    for (CpuIsa isa : machine_isas())
        for (size_t n_out : {1, 2, 3}) {
            CAPTURE(name(isa));
            CAPTURE(n_out);
            const LinearCrossEntropyParams params{static_cast<HeadGradient>(n_out - 1), chunk};
            const Matrix loss(real, 1, 1), dx(real, n_rows, channels), dw(real, vocabulary, channels);
            std::vector<View> out = {loss.view, dx.view, dw.view};
            out.resize(n_out);
            Call{cpu::linear_cross_entropy,
                 out,
                 {x.view, w.view, label_view},
                 params,
                 cpu::linear_cross_entropy_workspace(n_rows, channels, vocabulary, params, 2, real_bytes)}
                .run(isa, pool());
            const double tolerance = real_bytes == 8 ? 1e-12 : 2e-6;
            check_close(loss.view, {wanted.loss}, tolerance);
            if (n_out > 1) check_close(dx.view, wanted.dx, 10 * tolerance);
            if (n_out > 2) check_close(dw.view, wanted.dw, 10 * tolerance);
            for (const Matrix* m : {&loss, &dx, &dw}) CHECK(m->buffer.guards_intact());
        }
}

}  // namespace

TEST_CASE("linear_cross_entropy equals the loss of whole logits, in any chunks") {
    for (int64_t real_bytes : {4, 8}) {
        check_head(1, 3, 5, 4, 0, real_bytes);
        check_head(37, 13, 31, 8, 1, real_bytes);
        check_head(65, 33, 700, 16, 2, real_bytes);
        check_head(40, 16, 129, 256, 0, real_bytes);
        check_head(12, 7, 9, 4, 3, real_bytes);  // no label at all
    }
}

TEST_CASE("products have the same bits with any number of threads") {
    const Matrix x = random_matrix(DType::f32, 100, 300), w = quantized_matrix(kAllFormats[0], 513, 300);
    for (CpuIsa isa : machine_isas())
        for (int64_t m : {3, 100}) {
            View rows = x.view;
            rows.shape[0] = m;
            std::vector<Values> results;
            for (int n_threads : {1, 2, 5}) {
                ThreadPool threads(n_threads);
                const Matrix y(DType::f32, m, 513);
                Call{cpu::quant_matmul, {y.view}, {rows, w.view}, {}, cpu::matmul_workspace(m, 300, n_threads, 4)}.run(
                    isa, threads);
                results.push_back(values(y.view));
            }
            CHECK(results[0] == results[1]);
            CHECK(results[0] == results[2]);
        }
}
