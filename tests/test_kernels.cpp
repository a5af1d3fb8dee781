// The kernels of kernels/cpu against naive loops in double: every instruction set, thread counts, guard bytes, poisoned
// outputs, odd sizes. Attention and the products have files of their own.
#include <doctest/doctest.h>

#include <cmath>

#include "kernels/kernels.h"
#include "kernels/params.h"
#include "tests/kernel_check.h"

using namespace ggq;
using namespace ggq::test;

namespace {

using Values = std::vector<double>;

constexpr DType kReals[] = {DType::f32, DType::f64};
constexpr DType kFloats[] = {DType::f32, DType::f64, DType::f16, DType::bf16};
// Below and above one task of 16384 elements, one and odd.
constexpr int64_t kLengths[] = {1, 3, 17, 1021, 16384, 40009};

template <typename F>
Values map(const TestTensor& like, const F& f) {
    Values y(static_cast<size_t>(like.n_elems()));
    for (size_t i = 0; i < y.size(); ++i) y[i] = f(static_cast<int64_t>(i));
    return y;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }
double silu_slope(double x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); }

TestTensor scalar(DType dtype, double value) { return tensor_of(dtype, {1}, {value}); }

struct NormReference {
    Values y, rstd, dx, dw;

    NormReference(const TestTensor& dy, const TestTensor& x, const TestTensor& w, double eps) {
        const int64_t C = w.n_elems(), T = x.n_elems() / C;
        y.resize(static_cast<size_t>(T * C));
        dx = y;
        rstd.resize(static_cast<size_t>(T));
        dw.resize(static_cast<size_t>(C));
        for (int64_t t = 0; t < T; ++t) {
            double square = 0, dot = 0;
            for (int64_t c = 0; c < C; ++c) square += x.at(t * C + c) * x.at(t * C + c);
            const double r = rstd[static_cast<size_t>(t)] = 1 / std::sqrt(square / static_cast<double>(C) + eps);
            for (int64_t c = 0; c < C; ++c) dot += dy.at(t * C + c) * w.at(c) * x.at(t * C + c) * r;
            for (int64_t c = 0; c < C; ++c) {
                const auto i = static_cast<size_t>(t * C + c);
                const double h = x.at(t * C + c) * r;
                y[i] = h * w.at(c);
                dx[i] = r * (dy.at(t * C + c) * w.at(c) - h * dot / static_cast<double>(C));
                dw[static_cast<size_t>(c)] += dy.at(t * C + c) * h;
            }
        }
    }
};

}  // namespace

TEST_CASE("activations and their gradients") {
    for (DType real : kReals)
        for (int64_t n : kLengths) {
            const TestTensor x = random_tensor(real, {n}, 1, -9, 9), up = random_tensor(real, {n}, 2),
                             dy = random_tensor(real, {n}, 3), out(real, {n});
            const double tolerance = tolerance_of(real);
            check_kernel({"silu", cpu::silu, {out}, {x}}, {map(x, [&](int64_t i) { return silu(x.at(i)); })},
                         tolerance);
            check_kernel({"silu_backward", cpu::silu_backward, {out}, {dy, x}},
                         {map(x, [&](int64_t i) { return dy.at(i) * silu_slope(x.at(i)); })}, tolerance);
            check_kernel({"swiglu", cpu::swiglu, {out}, {x, up}},
                         {map(x, [&](int64_t i) { return silu(x.at(i)) * up.at(i); })}, tolerance);
            check_kernel({"swiglu_backward", cpu::swiglu_backward, {out, out}, {dy, x, up}},
                         {map(x, [&](int64_t i) { return dy.at(i) * up.at(i) * silu_slope(x.at(i)); }),
                          map(x, [&](int64_t i) { return dy.at(i) * silu(x.at(i)); })},
                         tolerance);
        }
}

TEST_CASE("silu far from zero") {
    for (DType real : kReals) {
        const TestTensor x = tensor_of(real, {8}, {0, -0.0, -80, -100, -1e30, 80, 100, 1e30});
        check_kernel({"silu", cpu::silu, {{real, {8}}}, {x}}, {{0, 0, 0, 0, 0, 80, 100, 1e30}}, 1e-7);
    }
}

TEST_CASE("elementwise arithmetic") {
    for (DType real : kReals)
        for (int64_t n : kLengths) {
            const TestTensor a = random_tensor(real, {n}, 1), b = random_tensor(real, {n}, 2), out(real, {n});
            const double tolerance = tolerance_of(real);
            check_kernel({"add", cpu::add, {out}, {a, b}}, {map(a, [&](int64_t i) { return a.at(i) + b.at(i); })},
                         tolerance);
            check_kernel({"mul", cpu::mul, {out}, {a, b}}, {map(a, [&](int64_t i) { return a.at(i) * b.at(i); })},
                         tolerance);
            check_kernel({"scale", cpu::scale, {out}, {a}, ScaleParams{0.3}},
                         {map(a, [&](int64_t i) { return 0.3 * a.at(i); })}, tolerance);
            check_kernel({"scale_by", cpu::scale_by, {out}, {a, scalar(real, -1.7)}},
                         {map(a, [&](int64_t i) { return -1.7 * a.at(i); })}, tolerance);
            check_kernel({"broadcast", cpu::broadcast, {out}, {scalar(real, 3)}, BroadcastParams{0.1, {n}}},
                         {Values(static_cast<size_t>(n), 3 * 0.1)}, tolerance);
            for (DType from : kFloats) {
                const TestTensor x = random_tensor(from, {n}, 3);
                check_kernel({"accumulate", cpu::accumulate, {a}, {a, x}, {}, 1},
                             {map(a, [&](int64_t i) { return a.at(i) + x.at(i); })}, tolerance);
            }
        }
}

TEST_CASE("full and fill write every dtype") {
    for (DType dtype :
         {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i32, DType::i64, DType::u8, DType::i8}) {
        const TestTensor out(dtype, {3, 37});
        check_kernel({"full", cpu::full, {out}, {}, FullParams{5, dtype, {3, 37}}}, {Values(111, 5)}, 0);
        check_kernel({"fill", cpu::fill, {out}, {out}, FillParams{7}, 1}, {Values(111, 7)}, 0);
    }
}

TEST_CASE("copy of a transposed view, for every element size") {
    for (DType dtype : {DType::u8, DType::bf16, DType::i32, DType::f64}) {
        const int64_t A = 5, B = 67, C = 61;
        const TestTensor x = random_tensor(dtype, {A, B, C}, 1, 0, 100);
        // y[c,a,b] = x[a,b,c], then y[b,a,c], whose rows stay whole
        View last, first;
        last.shape = {C, A, B};
        last.strides = {{1, B * C, C}};
        first.shape = {B, A, C};
        first.strides = {{C, B * C, 1}};
        const auto x_at = [&](int64_t a, int64_t b, int64_t c) { return x.at((a * B + b) * C + c); };
        check_kernel({"copy", cpu::copy, {{dtype, {C, A, B}}}, {x}, {}, 0, {}, {{0, last}}},
                     {map(x, [&](int64_t i) { return x_at(i / B % A, i % B, i / B / A); })}, 0);
        check_kernel({"copy", cpu::copy, {{dtype, {B, A, C}}}, {x}, {}, 0, {}, {{0, first}}},
                     {map(x, [&](int64_t i) { return x_at(i / C % A, i / C / A, i % C); })}, 0);
    }
}

TEST_CASE("slice_backward puts zeros around the slice") {
    for (DType real : kReals)
        for (int axis : {0, 1, 2}) {
            const Shape shape{41, 23, 53};
            const int64_t begin = axis, end = shape[axis] - 2 * axis;
            Shape kept = shape;
            kept[axis] = end - begin;
            const TestTensor dy = random_tensor(real, kept, 1), out(real, shape);
            const Strides steps = contiguous_strides(shape), kept_steps = contiguous_strides(kept);
            const auto expected = map(out, [&](int64_t i) {
                int64_t from = 0;
                for (int a = 0; a < 3; ++a) {
                    const int64_t place = i / steps[a] % shape[a] - (a == axis ? begin : 0);
                    if (place < 0 || place >= kept[a]) return 0.0;
                    from += place * kept_steps[a];
                }
                return dy.at(from);
            });
            check_kernel({"slice_backward", cpu::slice_backward, {out}, {dy}, SliceParams{axis, begin, end, shape}},
                         {expected}, 0);
        }
}

TEST_CASE("cast between all float types rounds to nearest even") {
    Values edges = {0,      -0.0, 1,      -1,     65504,    65519.99,  65520, 1e6,        -1e6,
                    6.1e-5, 6e-5, 5.9e-8, 2.9e-8, 3e-8,     1e-9,      1e-30, 1.00390625, 1.01171875,
                    2049,   2051, 3e38,   1e-40,  INFINITY, -INFINITY, NAN};
    for (DType from : kFloats)
        for (DType to : kFloats) {
            const TestTensor special = tensor_of(from, {static_cast<int64_t>(edges.size())}, edges);
            const TestTensor plain = random_tensor(from, {20011}, 1, -3, 3);
            for (const TestTensor* x : {&special, &plain}) {
                // What is wider than float reaches the 16-bit types through it.
                const bool narrow = to == DType::f16 || to == DType::bf16;
                TestTensor middle(narrow ? DType::f32 : to, x->view().shape), expected(to, x->view().shape);
                for (int64_t i = 0; i < x->n_elems(); ++i) middle.set(i, x->at(i));
                for (int64_t i = 0; i < x->n_elems(); ++i) expected.set(i, middle.at(i));
                check_kernel({"cast", cpu::cast, {{to, x->view().shape}}, {*x}}, {expected.values()}, 0);
            }
        }
}

TEST_CASE("embedding and its gradient") {
    const int64_t V = 211, C = 131, T = 307;
    TestTensor ids(DType::i32, {T});
    for (int64_t t = 0; t < T; ++t) ids.set(t, static_cast<double>(t * t % 97 * 2));  // many twice, odd ones never
    const auto id = [&](int64_t t) { return static_cast<int64_t>(ids.at(t)); };
    for (DType real : kReals) {
        for (DType stored : kFloats) {
            const TestTensor table = random_tensor(stored, {V, C}, 1), out(real, {T, C});
            check_kernel({"embedding", cpu::embedding, {out}, {table, ids}},
                         {map(out, [&](int64_t i) { return table.at(id(i / C) * C + i % C); })}, tolerance_of(real));
        }
        const TestTensor dy = random_tensor(real, {T, C}, 2), dtable(real, {V, C});
        Values expected(static_cast<size_t>(V * C));
        for (int64_t i = 0; i < T * C; ++i) expected[static_cast<size_t>(id(i / C) * C + i % C)] += dy.at(i);
        check_kernel({"embedding_backward", cpu::embedding_backward, {dtable}, {dy, ids}}, {expected},
                     tolerance_of(real));
    }
}

TEST_CASE("a large gradient of the embedding is split among tasks") {
    const int64_t V = 4099, C = 129, T = 11;
    const TestTensor ids = tensor_of(DType::i32, {T}, {0, 4098, 2031, 2032, 2033, 1, 4098, 0, 2500, 4097, 4098});
    const TestTensor dy = random_tensor(DType::f32, {T, C}, 2);
    Values expected(static_cast<size_t>(V * C));
    for (int64_t i = 0; i < T * C; ++i)
        expected[static_cast<size_t>(ids.at(i / C)) * C + static_cast<size_t>(i % C)] += dy.at(i);
    check_kernel({"embedding_backward", cpu::embedding_backward, {{DType::f32, {V, C}}}, {dy, ids}}, {expected}, 1e-6);
}

TEST_CASE("rms_norm and its gradient") {
    for (DType real : kReals)
        for (DType stored : kFloats)
            for (const Shape& shape : {Shape{1, 2}, Shape{3, 7}, Shape{67, 257}, Shape{131, 613}, Shape{2, 4096}}) {
                const TestTensor x = random_tensor(real, shape, 1, -3, 5), dy = random_tensor(real, shape, 2),
                                 w = random_tensor(stored, {shape[1]}, 3, 0, 2), out(real, shape);
                const NormReference r(dy, x, w, static_cast<double>(1e-5f));
                const double tolerance = 2 * tolerance_of(real);
                const TestTensor rstd(real, {shape[0]});
                check_kernel({"rms_norm", cpu::rms_norm, {out, rstd}, {x, w}, RmsNormParams{1e-5f}}, {r.y, r.rstd},
                             tolerance);
                const TestTensor kept = tensor_of(real, {shape[0]}, r.rstd), dw(real, {shape[1]});
                check_kernel({"rms_norm_backward", cpu::rms_norm_backward, {out, dw}, {dy, x, w, kept}}, {r.dx, r.dw},
                             tolerance);
                check_kernel({"rms_norm_backward", cpu::rms_norm_backward, {out}, {dy, x, w, kept}}, {r.dx}, tolerance);
            }
}

TEST_CASE("rope turns each half of a head with the other, from any strides") {
    for (DType real : kReals)
        for (int64_t D : {2, 6, 64, 520}) {
            const int64_t T = 29, H = 3;
            const TestTensor wide = random_tensor(real, {T, 2 * H, D}, 1), out(real, {T, H, D});
            TestTensor positions(DType::i32, {T}), frequencies(DType::f32, {D / 2});
            for (int64_t t = 0; t < T; ++t) positions.set(t, static_cast<double>(t * 37 % 101));
            for (int64_t i = 0; i < D / 2; ++i)
                frequencies.set(i, std::pow(10000.0, -2 * static_cast<double>(i) / static_cast<double>(D)));
            View every_other;  // heads 0, 2, 4
            every_other.shape = {T, H, D};
            every_other.strides = {{2 * H * D, 2 * D, 1}};
            for (const bool inverse : {false, true}) {
                const auto expected = map(out, [&](int64_t i) {
                    const int64_t t = i / (H * D), h = i / D % H, d = i % D, half = D / 2;
                    const double angle = positions.at(t) * frequencies.at(d % half) * (inverse ? -1 : 1);
                    const int64_t row = (t * 2 * H + 2 * h) * D;
                    const double a = wide.at(row + d), b = wide.at(row + (d + half) % D);
                    return a * std::cos(angle) + (d < half ? -b : b) * std::sin(angle);
                });
                check_kernel({"rope",
                              cpu::rope,
                              {out},
                              {wide, positions, frequencies},
                              RopeParams{inverse},
                              0,
                              {},
                              {{0, every_other}}},
                             {expected}, real == DType::f64 ? 1e-12 : 1e-5);
            }
        }
}

TEST_CASE("softmax and its gradient") {
    for (DType real : kReals)
        for (const Shape& shape : {Shape{1, 1}, Shape{5, 3, 17}, Shape{7, 5003}}) {
            const TestTensor x = random_tensor(real, shape, 1, -50, 20), dy = random_tensor(real, shape, 2);
            const int64_t n = shape[shape.rank - 1];
            Values y(static_cast<size_t>(x.n_elems())), dx = y;
            for (int64_t row = 0; row < x.n_elems(); row += n) {
                double sum = 0, dot = 0;
                for (int64_t i = row; i < row + n; ++i) sum += std::exp(x.at(i));
                for (int64_t i = row; i < row + n; ++i) y[static_cast<size_t>(i)] = std::exp(x.at(i)) / sum;
                for (int64_t i = row; i < row + n; ++i) dot += dy.at(i) * y[static_cast<size_t>(i)];
                for (int64_t i = row; i < row + n; ++i)
                    dx[static_cast<size_t>(i)] = y[static_cast<size_t>(i)] * (dy.at(i) - dot);
            }
            const double tolerance = 5 * tolerance_of(real);
            check_kernel({"softmax", cpu::softmax, {{real, shape}}, {x}}, {y}, tolerance);
            check_kernel({"softmax_backward", cpu::softmax_backward, {{real, shape}}, {dy, tensor_of(real, shape, y)}},
                         {dx}, tolerance);
        }
}

TEST_CASE("softmax of large and equal values") {
    const TestTensor x = tensor_of(DType::f32, {2, 3}, {1e30, 1e30, -1e30, -3e38, -3e38, -3e38});
    check_kernel({"softmax", cpu::softmax, {{DType::f32, {2, 3}}}, {x}}, {{0.5, 0.5, 0, 1 / 3.0, 1 / 3.0, 1 / 3.0}},
                 1e-6);
}

TEST_CASE("sums and norms over more than one wave of chunks") {
    for (DType real : kReals)
        for (int64_t n : {1, 4095, 4097, 1048576 + 4096 * 3 + 5}) {
            const TestTensor x = random_tensor(real, {n}, 1, -1, 2);
            double sum = 0, square = 0;
            for (int64_t i = 0; i < n; ++i) sum += x.at(i), square += x.at(i) * x.at(i);
            const double tolerance = real == DType::f64 ? 1e-13 : 1e-7;
            check_kernel({"sum", cpu::sum, {{real, {1}}}, {x}}, {{sum}}, tolerance);
            check_kernel({"global_norm", cpu::global_norm, {{real, {1}}}, {x}}, {{std::sqrt(square)}}, tolerance);
        }
}

TEST_CASE("clip_factor") {
    for (DType real : kReals) {
        const auto check = [&](float max_norm, double norm, double expected) {
            check_kernel({"clip_factor", cpu::clip_factor, {{real, {1}}}, {scalar(real, norm)}, ClipParams{max_norm}},
                         {{expected}}, 1e-6);
        };
        check(0, 100, 1);
        check(1, 0.5, 1);
        check(1, 4, 1 / (4 + 1e-6));
        check(1, NAN, NAN);  // which the optimizer takes as: no step
        check(1, INFINITY, NAN);
    }
}

TEST_CASE("cross_entropy and its gradient, with ignored rows") {
    for (DType real : kReals)
        for (const Shape& shape : {Shape{1, 1}, Shape{23, 7}, Shape{11, 4099}}) {
            const int64_t T = shape[0], V = shape[1];
            const TestTensor logits = random_tensor(real, shape, 1, -20, 30);
            TestTensor labels(DType::i32, {T});
            for (int64_t t = 0; t < T; ++t)
                labels.set(t, t % 3 == 1 ? kIgnoredLabel : static_cast<double>(t * 1009 % V));
            Values lse(static_cast<size_t>(T)), gradient(static_cast<size_t>(T * V));
            double loss = 0;
            for (int64_t t = 0; t < T; ++t) {
                if (labels.at(t) == kIgnoredLabel) continue;
                double sum = 0;
                for (int64_t v = 0; v < V; ++v) sum += std::exp(logits.at(t * V + v));
                lse[static_cast<size_t>(t)] = std::log(sum);
                loss += std::log(sum) - logits.at(t * V + static_cast<int64_t>(labels.at(t)));
                for (int64_t v = 0; v < V; ++v)
                    gradient[static_cast<size_t>(t * V + v)] =
                        0.75 * (std::exp(logits.at(t * V + v)) / sum - (v == static_cast<int64_t>(labels.at(t))));
            }
            const double tolerance = 3 * tolerance_of(real);
            check_kernel({"cross_entropy", cpu::cross_entropy, {{real, {1}}, {real, {T}}}, {logits, labels}},
                         {{loss}, lse}, tolerance);
            for (DType given : {DType::f32, DType::f64, DType::f16, DType::bf16})
                check_kernel({"cross_entropy_backward",
                              cpu::cross_entropy_backward,
                              {{real, shape}},
                              {scalar(given, 0.75), logits, labels, tensor_of(real, {T}, lse)}},
                             {gradient}, tolerance);
        }
}
