// Views: other shapes and strides over the same memory, and the copy that makes one contiguous.
#include "ggq/backward.h"
#include "ggq/error.h"
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "kernels/kernels.h"

namespace ggq {

namespace {

void reshape_gradient(Gradients& g) { g.set(0, reshape(g.dy(), g.in(0).shape())); }

void transpose_gradient(Gradients& g) {
    const auto& p = g.param<TransposeParams>();
    g.set(0, transpose(g.dy(), p.axis0, p.axis1));
}

void slice_gradient(Gradients& g) { g.set(0, g.graph().append(slice_backward_op, {g.dy()}, g.step().params)[0]); }

void copy_gradient(Gradients& g) { g.set(0, g.dy()); }

std::vector<TensorType> copy_types(const OpCall& call) { return {call.in[0]}; }

std::vector<TensorType> slice_backward_types(const OpCall& call) {
    return {{call.in[0].dtype, call.param<SliceParams>().whole, {}}};
}

std::vector<TensorType> concat_rows_types(const OpCall& call) {
    return {{call.in[0].dtype, {call.in[0].shape[0] + call.in[1].shape[0], call.in[0].shape[1]}, {}}};
}

void concat_rows_gradient(Gradients& g) {
    const int64_t m = g.in(0).shape()[0], n = g.in(1).shape()[0];
    if (g.needs(0)) g.set(0, slice(g.dy(), 0, 0, m));
    if (g.needs(1)) g.set(1, slice(g.dy(), 0, m, m + n));
}

void check_axis(const char* op, Tensor x, int axis) {
    require(axis >= 0 && axis < x.shape().rank, "[{}] expected an axis below {}, got {}", op, x.shape().rank, axis);
    require(!info(x.dtype()).quantized, "[{}] expected a tensor that is not quantized, got {}", op,
            to_string(x.type()));
}

}  // namespace

const OpDef reshape_op = {
    .name = "reshape", .signature = "x~~:any[...] -> y[...]", .gradient = reshape_gradient, .view = true};
const OpDef transpose_op = {
    .name = "transpose", .signature = "x~~:any[...] -> y[...]", .gradient = transpose_gradient, .view = true};
const OpDef slice_op = {
    .name = "slice", .signature = "x~~:any[...] -> y[...]", .gradient = slice_gradient, .view = true};

const OpDef slice_backward_op = {
    .name = "slice_backward",
    .signature = "dy:real[...] -> dx[...]",
    .infer = slice_backward_types,
    .kernel = kernels::slice_backward,
};

const OpDef copy_op = {
    .name = "copy",
    .signature = "x~~:any[...] -> y[...]",
    .infer = copy_types,
    .gradient = copy_gradient,
    .kernel = kernels::copy,
};

const OpDef concat_rows_op = {
    .name = "concat_rows",
    .signature = "a:real[M,C] b:real[N,C] -> y[...]",
    .infer = concat_rows_types,
    .gradient = concat_rows_gradient,
    .kernel = kernels::concat_rows,
};

Tensor contiguous(Tensor x) { return x.graph->value(x).contiguous() ? x : x.graph->append(copy_op, {x})[0]; }

Tensor reshape(Tensor x, const Shape& shape) {
    require(shape.n_elems() == x.shape().n_elems(), "[reshape] expected {} elements, got shape {}", x.shape().n_elems(),
            to_string(shape));
    const Tensor base = contiguous(x);
    return x.graph->append_view(reshape_op, base, {}, shape, contiguous_strides(shape), 0);
}

Tensor transpose(Tensor x, int axis0, int axis1) {
    check_axis("transpose", x, axis0);
    check_axis("transpose", x, axis1);
    Shape shape = x.shape();
    Strides strides = x.graph->value(x).strides;
    std::swap(shape[axis0], shape[axis1]);
    std::swap(strides[axis0], strides[axis1]);
    return x.graph->append_view(transpose_op, x, TransposeParams{axis0, axis1}, shape, strides, 0);
}

Tensor slice(Tensor x, int axis, int64_t begin, int64_t end) {
    check_axis("slice", x, axis);
    require(0 <= begin && begin < end && end <= x.shape()[axis], "[slice] expected a range within {}, got {}..{}",
            x.shape()[axis], begin, end);
    Shape shape = x.shape();
    shape[axis] = end - begin;
    const Strides strides = x.graph->value(x).strides;
    return x.graph->append_view(slice_op, x, SliceParams{axis, begin, end, x.shape()}, shape, strides,
                                begin * strides[axis]);
}

Tensor concat_rows(Tensor a, Tensor b) { return a.graph->append(concat_rows_op, {a, b})[0]; }

}  // namespace ggq
