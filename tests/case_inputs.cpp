#include "tests/case_inputs.h"

#include <cstring>
#include <random>

#include "ggq/ops.h"
#include "ggq/program.h"

namespace ggq::test {

namespace {

// One sequence of random numbers for each tensor made, the same in every run of the tests.
std::mt19937_64 next_engine() {
    static uint64_t n_made = 0;
    return std::mt19937_64(++n_made);
}

template <typename Distribution>
std::vector<double> drawn(int64_t n, Distribution distribution) {
    std::mt19937_64 engine = next_engine();
    std::vector<double> values(static_cast<size_t>(n));
    for (double& v : values) v = static_cast<float>(distribution(engine));
    return values;
}

template <typename T>
std::vector<std::byte> narrowed(const std::vector<double>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(T));
    for (size_t i = 0; i < values.size(); ++i) {
        const T value = static_cast<T>(values[i]);
        std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
    }
    return bytes;
}

template <typename T>
std::vector<double> widened(const std::vector<std::byte>& bytes) {
    std::vector<double> values(bytes.size() / sizeof(T));
    for (size_t i = 0; i < values.size(); ++i) {
        T value;
        std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
        values[i] = static_cast<double>(value);
    }
    return values;
}

// Float elements as another type, rounded by the ops cast and quantize.
std::vector<std::byte> converted(const std::vector<std::byte>& bytes, DType from, const TensorType& type) {
    const auto backend = make_cpu_backend(1);
    Store store(*backend);
    Buffer& source = store.declare("source", Kind::input, {from, type.shape, {}});
    const auto graph = std::make_shared<Graph>();
    const Tensor x = graph->bind(source);
    const Tensor y = info(type.dtype).quantized ? quantize(x, type.dtype, type.quant) : cast(x, type.dtype);
    graph->mark_output(y);
    Program program(graph, plan(*graph, *backend));
    store.allocate();
    const Arena arena(*backend, program.plan().arena_bytes);
    program.bind(*backend, arena);
    store.write(source, bytes.data());
    backend->zero(arena.data(), arena.bytes());  // padding between the parts of a quantized tensor
    program.run();
    std::vector<std::byte> result(static_cast<size_t>(type.bytes()));
    program.read(y, result.data());
    return result;
}

}  // namespace

CaseInput normal(const Shape& shape, double deviation) {
    CaseInput in = real(shape, drawn(shape.n_elems(), std::normal_distribution<double>(0, deviation)));
    in.kind = Kind::parameter;
    in.gradient = true;
    return in;
}

CaseInput positive(const Shape& shape) {
    return real(shape, drawn(shape.n_elems(), std::uniform_real_distribution<double>(0.1, 1)));
}

CaseInput real(const Shape& shape, std::vector<double> values) {
    return {{DType::f32, shape, {}}, std::move(values), Kind::input, true, false};
}

CaseInput sixty_fourths(const Shape& shape) {
    CaseInput in = normal(shape);
    in.values = drawn(shape.n_elems(), std::uniform_int_distribution<int>(-128, 128));
    for (double& v : in.values) v /= 64;
    return in;
}

CaseInput ints(DType dtype, const Shape& shape, const std::vector<int64_t>& values) {
    return {{dtype, shape, {}}, {values.begin(), values.end()}, Kind::input, false, false};
}

CaseInput below(DType dtype, const Shape& shape, int64_t limit) {
    return {{dtype, shape, {}},
            drawn(shape.n_elems(), std::uniform_int_distribution<int64_t>(0, limit - 1)),
            Kind::input,
            false,
            false};
}

CaseInput rng(int64_t seed, int64_t counter) { return ints(DType::i64, {2}, {seed, counter}); }

CaseInput labels(int64_t n, int64_t limit, int ignored) {
    CaseInput in = below(DType::i32, {n}, limit);
    if (ignored > 0)
        for (size_t i = 0; i < in.values.size(); i += static_cast<size_t>(ignored)) in.values[i] = kIgnoredLabel;
    return in;
}

CaseInput documents(const std::vector<int64_t>& lengths) {
    std::vector<int64_t> spans;
    int64_t first = 0, t = 0;
    for (int64_t length : lengths) {
        for (; t < first + length; ++t) spans.insert(spans.end(), {first, t + 1});
        first = t;
    }
    return ints(DType::i32, {t, 2}, spans);
}

CaseInput mask_of(const CaseInput& spans, int64_t n_keys) {
    const int64_t n_queries = spans.type.shape[0];
    std::vector<double> mask;
    for (size_t t = 0; t < static_cast<size_t>(n_queries); ++t)
        for (int64_t s = 0; s < n_keys; ++s) {
            const auto key = static_cast<double>(s);
            mask.push_back(spans.values[2 * t] <= key && key < spans.values[2 * t + 1] ? 0 : -1e30);
        }
    return real({n_queries, n_keys}, mask);
}

CaseInput frozen(CaseInput in) {
    in.gradient = false;
    return in;
}

CaseInput kept_as(CaseInput in, DType dtype, QuantSpec q) {
    in.type = {dtype, in.type.shape, q};
    in.kind = Kind::constant;
    in.real = in.gradient = false;
    return in;
}

CaseInput state(CaseInput in) {
    in.kind = Kind::state;
    in.gradient = false;
    return in;
}

CaseInput stat(CaseInput in) {
    in.stat = true;
    return in;
}

CaseInput rounded(CaseInput in, DType dtype) {
    if (in.real && !in.stat && info(dtype).bytes < 4)
        in.values = to_doubles(dtype, converted(narrowed<float>(in.values), DType::f32, {dtype, in.type.shape, {}}));
    return in;
}

std::vector<std::byte> stored(const CaseInput& in, const TensorType& type) {
    switch (type.dtype) {
        case DType::f32: return narrowed<float>(in.values);
        case DType::f64: return narrowed<double>(in.values);
        case DType::i32: return narrowed<int32_t>(in.values);
        case DType::i64: return narrowed<int64_t>(in.values);
        case DType::u8: return narrowed<uint8_t>(in.values);
        default: return converted(narrowed<float>(in.values), DType::f32, type);
    }
}

std::vector<double> to_doubles(DType dtype, const std::vector<std::byte>& bytes) {
    switch (dtype) {
        case DType::f32: return widened<float>(bytes);
        case DType::f64: return widened<double>(bytes);
        case DType::i32: return widened<int32_t>(bytes);
        case DType::i64: return widened<int64_t>(bytes);
        case DType::u8: return widened<uint8_t>(bytes);
        case DType::f16:
        case DType::bf16:
            return widened<float>(converted(bytes, dtype, {DType::f32, {static_cast<int64_t>(bytes.size() / 2)}, {}}));
        default: GGQ_ASSERT(false, name(dtype));
    }
    return {};
}

}  // namespace ggq::test
