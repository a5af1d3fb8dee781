#include "tests/case_inputs.h"

#include <cstring>
#include <random>

#include "ggq/ops.h"
#include "ggq/program.h"
#include "tests/packed_bytes.h"

namespace ggq::test {

namespace {

// FNV-1a, the same on every machine.
uint64_t hash_of(const std::string& text) {
    uint64_t hash = 14695981039346656037u;
    for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
    return hash;
}

template <typename Distribution>
CaseInput random(const TensorType& type, Distribution distribution) {
    CaseInput in{.type = type};
    in.draw = [n = type.shape.n_elems(), distribution](std::mt19937_64& engine, const auto&) {
        std::vector<double> values(static_cast<size_t>(n));
        Distribution fresh = distribution;
        for (double& v : values) v = static_cast<float>(fresh(engine));
        return values;
    };
    return in;
}

// What `change` makes of the values that are drawn.
template <typename F>
void change_values(CaseInput& in, F change) {
    in.draw = [draw = in.draw, change](std::mt19937_64& engine, const std::vector<CaseInput>& inputs) {
        std::vector<double> values = draw(engine, inputs);
        change(values);
        return values;
    };
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

void draw_values(const std::string& case_name, std::vector<CaseInput>& inputs) {
    for (size_t i = 0; i < inputs.size(); ++i) {
        std::mt19937_64 engine(hash_of(case_name + "/" + std::to_string(i)));
        if (inputs[i].draw) inputs[i].values = inputs[i].draw(engine, inputs);
    }
}

CaseInput drawn(const std::string& name, CaseInput in) {
    std::vector<CaseInput> inputs{std::move(in)};
    draw_values(name, inputs);
    return inputs[0];
}

CaseInput normal(const Shape& shape, double deviation) {
    CaseInput in = random({DType::f32, shape, {}}, std::normal_distribution<double>(0, deviation));
    in.kind = Kind::parameter;
    in.real = in.gradient = true;
    return in;
}

CaseInput positive(const Shape& shape) {
    CaseInput in = random({DType::f32, shape, {}}, std::uniform_real_distribution<double>(0.1, 1));
    in.real = true;
    return in;
}

CaseInput real(const Shape& shape, std::vector<double> values) {
    return {.type = {DType::f32, shape, {}}, .values = std::move(values), .real = true};
}

CaseInput sixty_fourths(const Shape& shape) {
    CaseInput in = random({DType::f32, shape, {}}, std::uniform_int_distribution<int>(-128, 128));
    in.kind = Kind::parameter;
    in.real = in.gradient = true;
    change_values(in, [](std::vector<double>& values) {
        for (double& v : values) v /= 64;
    });
    return in;
}

CaseInput ints(DType dtype, const Shape& shape, const std::vector<int64_t>& values) {
    return {.type = {dtype, shape, {}}, .values = {values.begin(), values.end()}};
}

CaseInput below(DType dtype, const Shape& shape, int64_t limit) {
    return random({dtype, shape, {}}, std::uniform_int_distribution<int64_t>(0, limit - 1));
}

CaseInput rng(int64_t seed, int64_t counter) { return ints(DType::i64, {2}, {seed, counter}); }

CaseInput labels(int64_t n, int64_t limit, int ignored) {
    CaseInput in = below(DType::i32, {n}, limit);
    if (ignored > 0)
        change_values(in, [ignored](std::vector<double>& values) {
            for (size_t i = 0; i < values.size(); i += static_cast<size_t>(ignored)) values[i] = kIgnoredLabel;
        });
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

CaseInput real_of(size_t at, const Shape& shape, std::function<std::vector<double>(const CaseInput& in)> make) {
    CaseInput in = real(shape, {});
    in.draw = [at, make = std::move(make)](std::mt19937_64&, const std::vector<CaseInput>& inputs) {
        return make(inputs[at]);
    };
    return in;
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
    if (is_packed(type.dtype)) return packed_bytes(type.dtype, in.values);
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
