// Sums, products and constants, element by element.
#include "ggq/backward.h"
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void add_gradient(Gradients& g) {
    if (g.needs(0)) g.set(0, g.dy());
    if (g.needs(1)) g.set(1, g.dy());
}

void mul_gradient(Gradients& g) {
    if (g.needs(0)) g.set(0, mul(g.dy(), g.in(1)));
    if (g.needs(1)) g.set(1, mul(g.dy(), g.in(0)));
}

void scale_gradient(Gradients& g) { g.set(0, scale(g.dy(), g.param<ScaleParams>().factor)); }

void scale_by_gradient(Gradients& g) {
    if (g.needs(0)) g.set(0, scale_by(g.dy(), g.in(1)));
    if (!g.needs(1)) return;
    const Tensor product = mul(g.dy(), g.in(0)), s = g.in(1);
    g.set(1, sum(product.dtype() == s.dtype() ? product : cast(product, s.dtype())));
}

void broadcast_gradient(Gradients& g) { g.set(0, scale(sum(g.dy()), g.param<BroadcastParams>().factor)); }

std::vector<TensorType> broadcast_types(const OpCall& call) {
    return {{call.in[0].dtype, call.param<BroadcastParams>().shape, {}}};
}

// Of n sums and n terms, each pair of one shape.
std::vector<TensorType> accumulate_types(const OpCall& call) {
    const size_t n = call.in.size() / 2;
    for (size_t i = 0; i < n; ++i)
        require(call.in[n + i].shape == call.in[i].shape && call.in[n + i].dtype == call.in[n].dtype,
                "[accumulate]{}{} input x: expected {} of shape {}, got {}", call.where.empty() ? "" : " ", call.where,
                name(call.in[n].dtype), to_string(call.in[i].shape), to_string(call.in[n + i]));
    return {call.in.begin(), call.in.begin() + static_cast<std::ptrdiff_t>(n)};
}

std::vector<TensorType> full_types(const OpCall& call) {
    const auto& p = call.param<FullParams>();
    return {{p.dtype, p.shape, {}}};
}

}  // namespace

const OpDef add_op = {
    .name = "add",
    .signature = "a:real[...] b:real[...] -> y[...]",
    .gradient = add_gradient,
    .kernel = kernels::add,
};

const OpDef mul_op = {
    .name = "mul",
    .signature = "a:real[...] b:real[...] -> y[...]",
    .gradient = mul_gradient,
    .kernel = kernels::mul,
};

const OpDef scale_op = {
    .name = "scale",
    .signature = "x:real[...] -> y[...]",
    .gradient = scale_gradient,
    .kernel = kernels::scale,
};

const OpDef scale_by_op = {
    .name = "scale_by",
    .signature = "x:real[...] s:stat[1] -> y[...]",
    .gradient = scale_by_gradient,
    .kernel = kernels::scale_by,
};

const OpDef broadcast_op = {
    .name = "broadcast",
    .signature = "s:real[1] -> y[...]",
    .infer = broadcast_types,
    .gradient = broadcast_gradient,
    .kernel = kernels::broadcast,
};

const OpDef full_op = {
    .name = "full",
    .signature = "-> y[...]",
    .infer = full_types,
    .kernel = kernels::full,
};

const OpDef accumulate_op = {
    .name = "accumulate",
    .signature = "y!+:real[*] x+:float[*] ->",
    .infer = accumulate_types,
    .kernel = kernels::accumulate,
};

const OpDef fill_op = {
    .name = "fill",
    .signature = "y!:real[...] ->",
    .bytes = [](const OpCall& c) { return c.out[0].bytes(); },  // written, not read
    .kernel = kernels::fill,
};

Tensor add(Tensor a, Tensor b) { return a.graph->append(add_op, {a, b})[0]; }
Tensor mul(Tensor a, Tensor b) { return a.graph->append(mul_op, {a, b})[0]; }
Tensor scale(Tensor x, double factor) { return x.graph->append(scale_op, {x}, ScaleParams{factor})[0]; }
Tensor scale_by(Tensor x, Tensor s) { return x.graph->append(scale_by_op, {x, s})[0]; }
Tensor broadcast(Tensor s, const Shape& shape, double factor) {
    return s.graph->append(broadcast_op, {s}, BroadcastParams{factor, shape})[0];
}
Tensor full(Graph& graph, const TensorType& type, double value) {
    return graph.append(full_op, {}, FullParams{value, type.dtype, type.shape})[0];
}
Tensor accumulate(Tensor sum, Tensor x) { return sum.graph->append(accumulate_op, {sum, x})[0]; }
void accumulate(const std::vector<Tensor>& sums, const std::vector<Tensor>& terms) {
    for (DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16}) {
        std::vector<Tensor> in, of_dtype;
        for (size_t i = 0; i < terms.size(); ++i) {
            if (terms[i].dtype() != dtype) continue;
            in.push_back(sums[i]);
            of_dtype.push_back(terms[i]);
        }
        if (in.empty()) continue;
        in.insert(in.end(), of_dtype.begin(), of_dtype.end());
        in[0].graph->append(accumulate_op, in);
    }
}
Tensor fill(Tensor state, double value) { return state.graph->append(fill_op, {state}, FillParams{value})[0]; }

}  // namespace ggq
