#include "bench/support/op_call.h"

#include <algorithm>
#include <cstring>

#include "bench/random_model.h"
#include "ggq/op_table.h"
#include "kernels/params.h"

namespace ggq::bench {

namespace {

// No multiple of a row, so that the rows of a tensor that repeats it differ.
constexpr int64_t kStretch = 1'000'003;

std::vector<float> uniform_floats(int64_t n, double low, double high) {
    std::vector<float> values(static_cast<size_t>(n));
    uint32_t state = 1;
    for (float& v : values) {
        state = state * 1664525u + 1013904223u;
        v = static_cast<float>(low + (high - low) * (state >> 8) / (1 << 24));
    }
    return values;
}

std::vector<std::byte> cast_to(DType dtype, std::vector<float> values) {
    const Shape shape{static_cast<int64_t>(values.size())};
    std::vector<std::byte> bytes(static_cast<size_t>(storage_bytes(dtype, shape, {})));
    const View from = make_view(values.data(), DType::f32, shape), to = make_view(bytes.data(), dtype, shape);
    const ParamBlock params(CastParams{dtype});
    make_cpu_backend(1)->run(cast_op, {{&to, 1}, {&from, 1}, &params, {}});
    return bytes;
}

std::vector<std::byte> repeated(const std::vector<std::byte>& stretch, size_t n_bytes) {
    std::vector<std::byte> bytes(n_bytes);
    for (size_t at = 0; at < n_bytes; at += stretch.size())
        std::memcpy(&bytes[at], stretch.data(), std::min(stretch.size(), n_bytes - at));
    return bytes;
}

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

}  // namespace

Input uniform(DType dtype, const Shape& shape, double low, double high) {
    const TensorType type{dtype, shape, {}};
    return {type, [=] {
                const int64_t n = std::min(shape.n_elems(), kStretch);
                return repeated(cast_to(dtype, uniform_floats(n, low, high)), static_cast<size_t>(type.bytes()));
            }};
}

Input constant(DType dtype, const Shape& shape, double value) { return uniform(dtype, shape, value, value); }

Input codes(const Shape& shape) {
    const TensorType type{DType::u8, shape, {}};
    return {type,
            [=] { return repeated(bytes_of(uniform_floats(kStretch, 1, 2)), static_cast<size_t>(type.bytes())); }};
}

Input quantized(DType dtype, const Shape& shape) {
    const TensorType type{dtype, shape, {}};
    return {type, [=] { return random_storage(type); }};
}

Input integers(const Shape& shape, const std::function<int32_t(int64_t i)>& value) {
    return {{DType::i32, shape, {}}, [=] {
                std::vector<int32_t> values(static_cast<size_t>(shape.n_elems()));
                for (size_t i = 0; i < values.size(); ++i) values[i] = value(static_cast<int64_t>(i));
                return bytes_of(values);
            }};
}

Input counters(const std::vector<int64_t>& values) {
    return {{DType::i64, Shape{static_cast<int64_t>(values.size())}, {}}, [=] { return bytes_of(values); }};
}

Input causal_spans(int64_t T, int64_t S) {
    return integers({T, 2}, [=](int64_t i) { return i % 2 == 0 ? 0 : static_cast<int32_t>(S - T + i / 2 + 1); });
}

Memory allocate(Backend& backend, int64_t bytes) {
    return Memory(static_cast<std::byte*>(backend.allocate(bytes)), {&backend, bytes});
}

std::vector<TensorType> output_types_of(const Call& call, std::span<const TensorType> in) {
    std::vector<TensorType> out =
        output_types({*call.op, in, {}, call.params, ""}, parse_signature(*call.op, std::ssize(in)));
    out.resize(std::min(out.size(), call.n_out));
    return out;
}

int64_t n_copies(int64_t bytes) {
    constexpr int64_t kFarBeyondCaches = int64_t{1} << 29;
    return std::clamp<int64_t>(kFarBeyondCaches / std::max<int64_t>(bytes, 1), 4, 64);
}

BoundCall::BoundCall(Backend& backend, const Call& call) : backend_(&backend), call_(call) {
    for (const Input& in : call.in) in_types_.push_back(in.type);
    out_types_ = output_types_of(call, in_types_);
    for (const OpArg& arg : parse_signature(*call.op).in) n_inout_ += arg.inout;
    backend.check_supported(op_call());
    workspace_bytes_ = backend.workspace_bytes(op_call());
    workspace_ = allocate(backend, workspace_bytes_);
    std::vector<std::vector<std::byte>> values;
    for (const Input& in : call.in) values.push_back(in.values());
    for (int64_t n = n_copies(traffic_bytes(op_call())); n > 0; --n) add_set(values);
    backend.synchronize();
}

void BoundCall::move_to(Backend& other) {
    backend_->synchronize();
    backend_ = &other;
    workspace_bytes_ = other.workspace_bytes(op_call());
    workspace_ = allocate(other, workspace_bytes_);
}

View BoundCall::new_tensor(Set& set, const TensorType& type) {
    set.memory.push_back(allocate(*backend_, type.bytes()));
    return make_view(set.memory.back().get(), type.dtype, type.shape, type.quant);
}

void BoundCall::add_set(const std::vector<std::vector<std::byte>>& values) {
    Set& set = sets_.emplace_back();
    for (size_t i = 0; i < in_types_.size(); ++i) {
        set.in.push_back(new_tensor(set, in_types_[i]));
        backend_->copy_in(set.in[i].data, values[i].data(), in_types_[i].bytes());
    }
    for (size_t i = 0; i < out_types_.size(); ++i)
        set.out.push_back(i < n_inout_ ? set.in[i] : new_tensor(set, out_types_[i]));
}

}  // namespace ggq::bench
