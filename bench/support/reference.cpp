#include "bench/support/reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ggq/error.h"
#include "ggq/op_table.h"
#include "kernels/params.h"

namespace ggq::bench {

namespace {

constexpr double kMostFlops = 4e9;                        // in double on the CPU, a second or so
constexpr int64_t kMostElements = int64_t{1} << 22;       // of the first input
constexpr double kTolerance = 1e-4, kTolerance16 = 2e-2;  // relative L2: of float, and where 16 bits are written

struct HostTensor {
    TensorType type;
    std::vector<std::byte> bytes;

    View view() { return make_view(bytes.data(), type.dtype, type.shape, type.quant); }
};

HostTensor zeros(const TensorType& type) { return {type, std::vector<std::byte>(static_cast<size_t>(type.bytes()))}; }

HostTensor fetched(Backend& backend, const View& view, const TensorType& type) {
    HostTensor t = zeros(type);
    backend.copy_out(t.bytes.data(), view.data, type.bytes());
    return t;
}

std::vector<HostTensor> fetched(Backend& backend, const std::vector<View>& views, std::span<const TensorType> types) {
    std::vector<HostTensor> all;
    for (size_t i = 0; i < views.size(); ++i) all.push_back(fetched(backend, views[i], types[i]));
    return all;
}

HostTensor as_double(Backend& cpu, HostTensor t) {
    if (t.type.dtype == DType::f64) return t;
    HostTensor wide = zeros({DType::f64, t.type.shape, {}});
    const View from = t.view(), to = wide.view();
    const ParamBlock params(CastParams{DType::f64});
    cpu.run(cast_op, {{&to, 1}, {&from, 1}, &params, {}});
    return wide;
}

// Which axis of an argument counts the rows that are computed independently of each other; -1: none.
int row_axis(const OpArg& arg) {
    if (arg.dims == "...") return 0;
    int axis = 0;
    for (size_t at = 0; at < arg.dims.size(); ++axis) {
        const size_t comma = std::min(arg.dims.find(',', at), arg.dims.size());
        const std::string_view dim = arg.dims.substr(at, comma - at);
        if (dim == "M" || dim == "T") return axis;
        at = comma + 1;
    }
    return -1;
}

HostTensor rows_of(HostTensor t, int axis, const std::vector<int64_t>& rows) {
    if (axis < 0 || info(t.type.dtype).quantized) return t;
    const int64_t n = t.type.shape[axis];
    int64_t outer = 1, inner = info(t.type.dtype).bytes;
    for (int i = 0; i < axis; ++i) outer *= t.type.shape[i];
    for (int i = axis + 1; i < t.type.shape.rank; ++i) inner *= t.type.shape[i];
    HostTensor picked{t.type, {}};
    picked.type.shape[axis] = static_cast<int64_t>(rows.size());
    for (int64_t o = 0; o < outer; ++o)
        for (int64_t row : rows) {
            const auto from = t.bytes.begin() + (o * n + row) * inner;
            picked.bytes.insert(picked.bytes.end(), from, from + inner);
        }
    return picked;
}

// Empty: all of them. Masks are functions of an element's place, so that with them only the first rows can stand alone.
std::vector<int64_t> rows_to_compare(const BoundCall& call, const Signature& signature) {
    const OpCall c = call.op_call();
    const bool small = call.flops() <= kMostFlops && c.in[0].shape.n_elems() <= kMostElements;
    bool masked = false;
    int64_t n = 0;
    for (size_t i = 0; i < c.in.size(); ++i) {
        masked |= signature.in[i].name == "rng";
        const int axis = row_axis(signature.in[i]);
        if (axis >= 0 && !info(c.in[i].dtype).quantized && c.in[i].shape.rank > 1) n = c.in[i].shape[axis];
    }
    if (small || n < 8) return {};
    if (masked) return {0, 1, 2, 3};
    return {0, 1, n / 2, n - 1};
}

double distance(const HostTensor& a, const HostTensor& b) {
    const auto n = static_cast<size_t>(a.type.shape.n_elems());
    double error = 0, norm = 0;
    for (size_t i = 0; i < n; ++i) {
        double x = 0, y = 0;
        std::memcpy(&x, &a.bytes[8 * i], 8), std::memcpy(&y, &b.bytes[8 * i], 8);
        error += (x - y) * (x - y), norm += y * y;
    }
    return norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
}

std::vector<View> views_of(std::vector<HostTensor>& tensors) {
    std::vector<View> views;
    for (HostTensor& t : tensors) views.push_back(t.view());
    return views;
}

// The call's outputs by the CPU, from inputs that become its own.
std::vector<HostTensor> computed(Backend& cpu, const Call& call, std::vector<HostTensor> in, size_t n_inout) {
    std::vector<TensorType> types;
    for (const HostTensor& t : in) types.push_back(t.type);
    const std::vector<TensorType> out_types = output_types_of(call, types);
    const OpCall c{*call.op, types, out_types, call.params, "", call.keys_a_query};
    const int64_t n_bytes = cpu.workspace_bytes(c);
    const Memory workspace = allocate(cpu, n_bytes);
    std::vector<HostTensor> out(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(n_inout));
    for (size_t i = n_inout; i < out_types.size(); ++i) out.push_back(zeros(out_types[i]));
    std::vector<View> out_views = views_of(out), in_views = views_of(in);
    std::copy_n(out_views.begin(), n_inout, in_views.begin());
    cpu.run(*call.op, {out_views, in_views, &call.params, {workspace.get(), static_cast<size_t>(n_bytes)}});
    return out;
}

bool is_16_bit(const TensorType& type) { return info(type.dtype).floating && info(type.dtype).bytes < 4; }

// The inputs as the reference takes them: the rows to compare, computing types as double.
std::vector<HostTensor> reference_inputs(Backend& cpu, BoundCall& call, const Signature& signature,
                                         const std::vector<int64_t>& rows) {
    std::vector<HostTensor> in = fetched(call.backend(), call.in(0), call.op_call().in);
    for (size_t i = 0; i < in.size(); ++i) {
        const OpArg& arg = signature.in[i];
        if (!rows.empty()) in[i] = rows_of(std::move(in[i]), row_axis(arg), rows);
        if (arg.type == "real" || arg.type == "stat") in[i] = as_double(cpu, std::move(in[i]));
    }
    return in;
}

// Empty if one output is what is expected, or cannot be compared.
std::string difference(Backend& cpu, const OpArg& arg, HostTensor actual, HostTensor expected, double tolerance,
                       const std::vector<int64_t>& rows) {
    const int axis = row_axis(arg);
    if (!info(actual.type.dtype).floating || (!rows.empty() && axis < 0)) return "";
    if (!rows.empty()) actual = rows_of(std::move(actual), axis, rows);
    const double off = distance(as_double(cpu, std::move(actual)), as_double(cpu, std::move(expected)));
    if (off <= tolerance) return "";
    return fmt::format("output {}: relative distance of {:.3g} from the CPU's result in double, expected {:g} at most",
                       arg.name, off, tolerance);
}

}  // namespace

struct Reference::Parts {
    std::string op;
    Signature signature;
    size_t n_inout = 0;
    std::vector<int64_t> rows;
    std::unique_ptr<Backend> cpu = make_cpu_backend();
    std::vector<HostTensor> expected;
    double tolerance = kTolerance;
};

Reference::Reference(BoundCall& call, const Call& spec) : parts_(std::make_unique<Parts>()) {
    Parts& p = *parts_;
    const OpCall c = call.op_call();
    p.op = spec.op->name;
    p.signature = parse_signature(*spec.op, std::ssize(spec.in));
    p.rows = rows_to_compare(call, p.signature);
    p.n_inout = static_cast<size_t>(std::ranges::count(p.signature.in, true, &OpArg::inout));
    p.expected = computed(*p.cpu, spec, reference_inputs(*p.cpu, call, p.signature, p.rows), p.n_inout);
    if (std::ranges::any_of(c.in, is_16_bit) || std::ranges::any_of(c.out, is_16_bit)) p.tolerance = kTolerance16;
}

Reference::~Reference() = default;

std::string Reference::problem(BoundCall& call) const {
    const Parts& p = *parts_;
    const std::vector<View> out = call.out(0);
    const OpCall c = call.op_call();
    for (size_t i = p.n_inout; i < out.size(); ++i)  // what stands there may be right
        call.backend().set_bytes(out[i].data, std::byte{0xff}, c.out[i].bytes());
    call.run(0);
    call.backend().synchronize();
    std::vector<HostTensor> actual = fetched(call.backend(), out, c.out);
    std::string problem;
    for (size_t i = 0; i < actual.size() && problem.empty(); ++i)
        problem = difference(*p.cpu, p.signature.out[i], std::move(actual[i]), p.expected[i], p.tolerance, p.rows);
    return problem.empty() ? "" : fmt::format("[{}] {}", p.op, problem);
}

}  // namespace ggq::bench
