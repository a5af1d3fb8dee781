// attention and attention_backward against the plain softmax(q k^T) v in double: grouped heads, documents, the KV-cache
// form, strided views, keys in 16 bits; and the gradient against central differences.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/attention_workspace.h"
#include "kernels/kernels.h"
#include "kernels/params.h"
#include "tests/kernel_check.h"

using namespace ggq;
using namespace ggq::test;

namespace {

using Values = std::vector<double>;

struct Sizes {
    int64_t T, H, D, S, G;
    Shape q() const { return {T, H, D}; }
    Shape k() const { return {S, G, D}; }
};

// What a query may see.
enum class Sight { causal, documents, cache, everything };

TestTensor make_spans(const Sizes& s, Sight sight) {
    constexpr int64_t kDocument = 37;
    TestTensor spans(DType::i32, {s.T, 2});
    for (int64_t t = 0; t < s.T; ++t) {
        const int64_t key = s.S - s.T + t;  // the query's own
        const int64_t first = sight == Sight::documents ? key / kDocument * kDocument : 0;
        spans.set(2 * t, static_cast<double>(first));
        // A cache has room for more than is in it.
        spans.set(2 * t + 1, static_cast<double>(sight == Sight::everything ? s.S
                                                 : sight == Sight::cache    ? s.S / 2 - s.T + t + 1
                                                                            : key + 1));
    }
    return spans;
}

struct Problem {
    Sizes sizes;
    TestTensor q, k, v, spans;
    float scale;

    Problem(const Sizes& s, DType real, DType stored, Sight sight)
        : sizes(s),
          q(random_tensor(real, s.q(), 1, -2, 2)),
          k(random_tensor(stored, s.k(), 2, -2, 2)),
          v(random_tensor(stored, s.k(), 3, -1, 2)),
          spans(make_spans(s, sight)),
          scale(static_cast<float>(1 / std::sqrt(static_cast<double>(s.D)))) {}
};

// The dense form.
struct Reference {
    Values y, lse, dq, dk, dv;

    Reference(const Problem& p, const Values& q, const Values& k, const Values& v, const Values& dy) {
        const Sizes& s = p.sizes;
        const auto n_q = static_cast<size_t>(s.T * s.H * s.D), n_k = static_cast<size_t>(s.S * s.G * s.D);
        y.resize(n_q), dq.resize(n_q), dk.resize(n_k), dv.resize(n_k);
        lse.resize(static_cast<size_t>(s.H * s.T));
        for (int64_t t = 0; t < s.T; ++t)
            for (int64_t h = 0; h < s.H; ++h) one_query(p, q, k, v, dy, t, h);
    }

    void one_query(const Problem& p, const Values& q, const Values& k, const Values& v, const Values& dy, int64_t t,
                   int64_t h) {
        const Sizes& s = p.sizes;
        const auto scale = static_cast<double>(p.scale);
        const auto begin = static_cast<int64_t>(p.spans.at(2 * t)), end = static_cast<int64_t>(p.spans.at(2 * t + 1));
        const auto row = static_cast<size_t>((t * s.H + h) * s.D), D = static_cast<size_t>(s.D);
        const auto key = [&](int64_t i) { return static_cast<size_t>((i * s.G + h / (s.H / s.G)) * s.D); };
        Values w(static_cast<size_t>(s.S));
        double sum = 0, delta = 0;
        for (int64_t i = begin; i < end; ++i) {
            double score = 0;
            for (size_t d = 0; d < D; ++d) score += q[row + d] * k[key(i) + d];
            sum += w[static_cast<size_t>(i)] = std::exp(scale * score);
        }
        lse[static_cast<size_t>(h * s.T + t)] = std::log(sum);
        for (int64_t i = begin; i < end; ++i)
            for (size_t d = 0; d < D; ++d) y[row + d] += w[static_cast<size_t>(i)] / sum * v[key(i) + d];
        if (dy.empty()) return;
        for (size_t d = 0; d < D; ++d) delta += dy[row + d] * y[row + d];
        for (int64_t i = begin; i < end; ++i) {
            const double weight = w[static_cast<size_t>(i)] / sum;
            double dw = -delta;
            for (size_t d = 0; d < D; ++d) dw += dy[row + d] * v[key(i) + d];
            for (size_t d = 0; d < D; ++d) {
                dv[key(i) + d] += weight * dy[row + d];
                dq[row + d] += scale * weight * dw * k[key(i) + d];
                dk[key(i) + d] += scale * weight * dw * q[row + d];
            }
        }
    }
};

int64_t real_bytes(DType real) { return info(real).bytes; }

KernelCase forward_case(const Problem& p, DType real) {
    const Sizes s = p.sizes;
    return {"attention",
            cpu::attention,
            {{real, s.q()}, {real, {s.H, s.T}}},
            {p.q, p.k, p.v, p.spans},
            AttentionParams{p.scale},
            0,
            [=](int n) { return cpu::attention_workspace(s.T, s.H, s.D, s.S, s.G, n, real_bytes(real)); }};
}

KernelCase backward_case(const Problem& p, DType real, const TestTensor& dy, const TestTensor& y,
                         const TestTensor& lse) {
    const Sizes s = p.sizes;
    return {"attention_backward",
            cpu::attention_backward,
            {{real, s.q()}, {real, s.k()}, {real, s.k()}},
            {dy, p.q, p.k, p.v, y, lse, p.spans},
            AttentionParams{p.scale},
            0,
            [=](int n) { return cpu::attention_backward_workspace(s.T, s.H, s.D, n, real_bytes(real)); }};
}

void check_attention(const Sizes& s, DType real, DType stored, Sight sight) {
    const Problem p(s, real, stored, sight);
    const TestTensor dy = random_tensor(real, s.q(), 4);
    const Reference r(p, p.q.values(), p.k.values(), p.v.values(), dy.values());
    CAPTURE(s.T);
    CAPTURE(s.H);
    CAPTURE(s.D);
    CAPTURE(s.S);
    CAPTURE(s.G);
    const double tolerance = real == DType::f64 ? 1e-12 : 5e-6;
    check_kernel(forward_case(p, real), {r.y, r.lse}, tolerance);
    if (stored != real) return;
    const TestTensor y = tensor_of(real, s.q(), r.y), lse = tensor_of(real, {s.H, s.T}, r.lse);
    check_kernel(backward_case(p, real, dy, y, lse), {r.dq, r.dk, r.dv}, tolerance);
}

}  // namespace

TEST_CASE("attention and its gradient for many shapes") {
    for (DType real : {DType::f32, DType::f64})
        for (const Sizes& s :
             {Sizes{1, 1, 1, 1, 1}, Sizes{2, 3, 5, 2, 1}, Sizes{13, 6, 7, 13, 2}, Sizes{64, 2, 32, 64, 1},
              Sizes{65, 4, 64, 65, 2}, Sizes{129, 3, 33, 129, 3}, Sizes{97, 7, 128, 97, 1}}) {
            check_attention(s, real, real, Sight::causal);
            check_attention(s, real, real, Sight::documents);
            check_attention(s, real, real, Sight::everything);
        }
}

TEST_CASE("attention over a cache: fewer queries than keys, 16-bit keys and values") {
    for (DType real : {DType::f32, DType::f64})
        for (DType stored : {DType::f32, DType::f64, DType::f16, DType::bf16})
            for (const Sizes& s : {Sizes{1, 6, 48, 300, 2}, Sizes{3, 4, 64, 777, 4}, Sizes{1, 8, 17, 1531, 1},
                                   Sizes{1, 80, 16, 1201, 1}, Sizes{50, 4, 40, 600, 2}, Sizes{1, 2, 8, 9001, 2}}) {
                check_attention(s, real, stored, Sight::cache);
                check_attention(s, real, stored, Sight::causal);
            }
}

TEST_CASE("what no query sees is never used, be it NaN") {
    const Sizes s{1, 4, 32, 1200, 2};
    Problem p(s, DType::f32, DType::f32, Sight::cache);
    const Reference r(p, p.q.values(), p.k.values(), p.v.values(), {});
    for (int64_t i = s.S / 2 * s.G * s.D; i < p.k.n_elems(); ++i) {
        p.k.set(i, std::numeric_limits<double>::quiet_NaN());
        p.v.set(i, std::numeric_limits<double>::infinity());
    }
    check_kernel(forward_case(p, DType::f32), {r.y, r.lse}, 5e-6);
}

TEST_CASE("nothing of another document leaks into a row, however large") {
    const Sizes s{64, 2, 16, 64, 1};
    Problem p(s, DType::f32, DType::f32, Sight::documents);
    const std::vector<TestTensor> clean = run_kernel(forward_case(p, DType::f32), CpuIsa::portable, 1);
    const int64_t first = 37;  // the second document's first token
    for (int64_t i = first * s.G * s.D; i < p.v.n_elems(); ++i) p.v.set(i, 1e37);
    const std::vector<TestTensor> dirty = run_kernel(forward_case(p, DType::f32), CpuIsa::portable, 1);
    for (int64_t i = 0; i < first * s.H * s.D; ++i) CHECK(clean[0].at(i) == dirty[0].at(i));
}

TEST_CASE("a row whose first blocks of keys are all hidden is right") {
    const Sizes s{64, 1, 16, 640, 1};
    Problem p(s, DType::f32, DType::f32, Sight::everything);
    for (int64_t t = 0; t < s.T; ++t) {
        p.spans.set(2 * t, static_cast<double>(t * 9));
        p.spans.set(2 * t + 1, static_cast<double>(t * 9 + 1 + t % 5));
    }
    const TestTensor dy = random_tensor(DType::f32, s.q(), 4);
    const Reference r(p, p.q.values(), p.k.values(), p.v.values(), dy.values());
    check_kernel(forward_case(p, DType::f32), {r.y, r.lse}, 5e-6);
    const TestTensor y = tensor_of(DType::f32, s.q(), r.y), lse = tensor_of(DType::f32, {s.H, s.T}, r.lse);
    check_kernel(backward_case(p, DType::f32, dy, y, lse), {r.dq, r.dk, r.dv}, 5e-6);
}

TEST_CASE("large scores neither overflow nor lose a row") {
    const Sizes s{70, 2, 16, 70, 1};
    Problem p(s, DType::f32, DType::f32, Sight::causal);
    for (int64_t i = 0; i < p.q.n_elems(); ++i) p.q.set(i, 100 * p.q.at(i));
    const Reference r(p, p.q.values(), p.k.values(), p.v.values(), {});
    check_kernel(forward_case(p, DType::f32), {r.y, r.lse}, 3e-4);
}

TEST_CASE("attention takes q, k and v from one tensor by their strides") {
    const Sizes s{71, 4, 24, 71, 2};
    const int64_t heads = s.H + 2 * s.G;
    const TestTensor qkv = random_tensor(DType::f32, {s.T, heads, s.D}, 5);
    Problem p(s, DType::f32, DType::f32, Sight::documents);
    const auto part = [&](TestTensor& to, int64_t first) {
        const int64_t n = to.view().shape[1];
        for (int64_t i = 0; i < to.n_elems(); ++i)
            to.set(i, qkv.at((i / (n * s.D) * heads + first + i / s.D % n) * s.D + i % s.D));
    };
    part(p.q, 0);
    part(p.k, s.H);
    part(p.v, s.H + s.G);
    const TestTensor dy = random_tensor(DType::f32, s.q(), 4);
    const Reference r(p, p.q.values(), p.k.values(), p.v.values(), dy.values());
    const TestTensor y = tensor_of(DType::f32, s.q(), r.y), lse = tensor_of(DType::f32, {s.H, s.T}, r.lse);
    // Tensors whose rows are cut from the wide one: the first element of each is moved to where the view starts.
    const auto wide_from = [&](int64_t first) {
        TestTensor wide(DType::f32, {s.T, heads, s.D});
        for (int64_t i = 0; i + first * s.D < qkv.n_elems(); ++i) wide.set(i, qkv.at(i + first * s.D));
        return wide;
    };
    const auto strided = [&](const Shape& shape) {
        View v;
        v.shape = shape;
        v.strides = {{heads * s.D, s.D, 1}};
        return v;
    };
    KernelCase forward = forward_case(p, DType::f32);
    forward.in = {wide_from(0), wide_from(s.H), wide_from(s.H + s.G), p.spans};
    forward.strided = {{0, strided(s.q())}, {1, strided(s.k())}, {2, strided(s.k())}};
    check_kernel(forward, {r.y, r.lse}, 5e-6);
    KernelCase backward = backward_case(p, DType::f32, dy, y, lse);
    backward.in = {dy, wide_from(0), wide_from(s.H), wide_from(s.H + s.G), y, lse, p.spans};
    backward.strided = {{1, strided(s.q())}, {2, strided(s.k())}, {3, strided(s.k())}};
    check_kernel(backward, {r.dq, r.dk, r.dv}, 5e-6);
}

TEST_CASE("attention_backward agrees with central differences in double") {
    const Sizes s{19, 4, 5, 19, 2};
    const Problem p(s, DType::f64, DType::f64, Sight::documents);
    const TestTensor dy = random_tensor(DType::f64, s.q(), 4);
    const std::vector<TestTensor> made = run_kernel(forward_case(p, DType::f64), CpuIsa::portable, 1);
    const std::vector<TestTensor> gradients =
        run_kernel(backward_case(p, DType::f64, dy, made[0], made[1]), CpuIsa::portable, 1);
    for (int input = 0; input < 3; ++input) {
        CAPTURE(input);
        const TestTensor& gradient = gradients[static_cast<size_t>(input)];
        for (int64_t i = 0; i < gradient.n_elems(); i += 7) {
            CAPTURE(i);
            double loss[2];
            for (int side = 0; side < 2; ++side) {
                KernelCase c = forward_case(p, DType::f64);
                TestTensor& x = c.in[static_cast<size_t>(input)];
                x.set(i, x.at(i) + (side == 0 ? 1e-5 : -1e-5));
                const std::vector<TestTensor> out = run_kernel(c, CpuIsa::portable, 1);
                loss[side] = 0;
                for (int64_t j = 0; j < dy.n_elems(); ++j) loss[side] += dy.at(j) * out[0].at(j);
            }
            CHECK(std::abs((loss[0] - loss[1]) / 2e-5 - gradient.at(i)) < 1e-8);
        }
    }
}

TEST_CASE("cache_write converts rows and stops at the end of the cache") {
    const int64_t S = 11, G = 3, D = 5, T = 4;
    for (DType real : {DType::f32, DType::f64})
        for (DType stored : {DType::f32, DType::f64, DType::f16, DType::bf16})
            for (int64_t at : {0, 6, 9, 11}) {
                const TestTensor cache = random_tensor(stored, {S, G, D}, 1), x = random_tensor(real, {T, G, D}, 2);
                const TestTensor place = tensor_of(DType::i32, {1}, {static_cast<double>(at)});
                TestTensor single(DType::f32, {T, G, D}), expected(stored, {S, G, D});
                const bool narrow = info(stored).bytes == 2;
                for (int64_t i = 0; i < x.n_elems(); ++i) single.set(i, x.at(i));
                for (int64_t i = 0; i < cache.n_elems(); ++i) {
                    const int64_t from = i - at * G * D;
                    const bool written = from >= 0 && from < x.n_elems();
                    expected.set(i, !written ? cache.at(i) : narrow ? single.at(from) : x.at(from));
                }
                check_kernel({"cache_write", cpu::cache_write, {cache}, {cache, x, place}, {}, 1}, {expected.values()},
                             0);
            }
}
